"""The exchange with servers that know the plain wire only: nothing is lost, nothing comes back, nothing is called synced that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RollcallError
from shared.ipc.requests.people import Rename
from tests.support.plain_server import PlainServer
from tests.support.sync_site import SyncSite, face
from workers.sync.faults import BackendFault


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as one:
        yield one


def _item(person: str, seed: int, **more: Any) -> dict[str, Any]:
    return {
        "person_name": person,
        "embedding": [float(one) for one in face(seed)],
        "image_path": None,
        "user_id": None,
        **more,
    }


def test_what_is_here_goes_there_and_what_is_there_comes_here(tmp_path: Path, server: PlainServer) -> None:
    """Both sides have everything after one exchange; a second one changes and sends nothing."""
    server.keep(_item("Bo", 2, image_path="faces/Bo/1.jpg", user_id="7"))
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1, "faces/Ada/1.jpg")
        site.enrol("Ada", 3)
        report = site.sync()
        assert (report.sent, report.taken, report.unshown, report.is_whole) == (2, 1, 0, True)
        assert site.people() == {"Ada": 2, "Bo": 1}
        assert sorted(one["person_name"] for one in server.items.values()) == ["Ada", "Ada", "Bo"]
        sent = next(one for one in server.items.values() if one["image_path"] == "faces/Ada/1.jpg")
        assert sent["embedding"] == pytest.approx([float(one) for one in face(1)], abs=1e-6)
        again = site.sync()
        assert (again.sent, again.taken, again.is_whole) == (0, 0, True)
        assert len(server.posted) == 1


def test_numbers_with_fewer_digits_are_the_same_reference(tmp_path: Path, server: PlainServer) -> None:
    """A server that rounds what it stores, or has another path for a photo's embedding, does not double anybody."""
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1)
        site.enrol("Ada", 2, "faces/Ada/2.jpg")
        server.keep(_item("Ada", 1, embedding=[round(float(one), 4) for one in face(1)]))
        server.keep(_item("Ada", 2, image_path="elsewhere/2.jpg"))
        assert site.sync().taken == 0
        assert site.sync().is_whole
        assert site.people() == {"Ada": 2}


def test_two_sites_share_what_a_plain_server_has(tmp_path: Path, server: PlainServer) -> None:
    """A reference that went up from one site comes down at the other, and is not sent back under another name."""
    with SyncSite(tmp_path / "a", server.address) as one, SyncSite(tmp_path / "b", server.address) as two:
        one.enrol("Ada", 1, "faces/Ada/1.jpg")
        one.sync()
        two.enrol("Bo", 2)
        two.sync()
        one.sync()
        assert one.people() == two.people() == {"Ada": 1, "Bo": 1}
        assert (one.sync().sent, two.sync().sent) == (0, 0)
        assert len(server.items) == 2


@pytest.mark.parametrize("form", ["data", "bare", "camel"])
def test_other_forms_of_the_list_are_read(tmp_path: Path, server: PlainServer, form: str) -> None:
    """`data` instead of `embeddings`, a bare list, and camel case names."""
    server.list_form = {
        "data": lambda items: {"data": items},
        "bare": lambda items: items,
        "camel": lambda items: {
            "embeddings": [
                {"personName": one["person_name"], "embedding": one["embedding"], "imagePath": "x.jpg", "userId": "9"}
                for one in items
            ]
        },
    }[form]
    server.keep(_item("Ada", 1))
    with SyncSite(tmp_path / "a", server.address) as site:
        site.sync()
        assert site.people() == {"Ada": 1}
        if form == "camel":
            assert [one.user_id for one in site.gallery.people()] == ["9"]


def test_a_server_that_keeps_nothing_is_not_called_synced(tmp_path: Path) -> None:
    """Its list is always empty and it takes 100 kB: everything is sent in pieces, nothing is lost here, and it does not count as synced. It is
    not sent all of it again a minute later."""
    with PlainServer(keeps=False) as server, SyncSite(tmp_path / "a", server.address) as site:
        for seed in range(150):
            site.enrol(f"P{seed}", seed)
        report = site.sync()
        assert (report.sent, report.unshown, report.is_whole) == (150, 150, False)
        assert len(server.posted) > 1
        assert len(site.people()) == 150
        again = site.sync()
        assert (again.sent, again.unshown, again.is_whole) == (0, 150, False)
        site.enrol("New", 999)
        assert site.sync().sent == 1


def test_a_server_that_lost_its_list_gets_it_again(tmp_path: Path, server: PlainServer) -> None:
    """What the list had and has no more is sent again."""
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1)
        site.sync()
        server.items.clear()
        assert site.sync().sent == 1
        assert len(server.items) == 1
        assert site.people() == {"Ada": 1}


def test_a_small_limit_halves_the_batches(tmp_path: Path, server: PlainServer) -> None:
    """413: the batch is cut in half until it is taken; an item that is too large by itself holds up nothing."""
    server.limit = 9000
    with SyncSite(tmp_path / "a", server.address) as site:
        for seed in range(20):
            site.enrol(f"P{seed}", seed)
        report = site.sync()
        assert (report.sent, report.is_whole) == (20, True)
        server.limit = 1000
        site.enrol("Wide", 99)
        report = site.sync()
        assert report.sent == 0
        assert any("too large" in reason for reason in report.refused_there)
        assert not report.is_whole


def test_what_was_deleted_or_forgotten_does_not_come_back(tmp_path: Path, server: PlainServer) -> None:
    """The server shows it for ever, since it can't be told. Neither a deleted reference, nor a forgotten person, nor anything of theirs that
    the server has and this site never had, is taken."""
    server.keep(_item("Bo", 4))
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1, "faces/Ada/1.jpg")
        site.enrol("Ada", 2, "faces/Ada/2.jpg")
        site.enrol("Cy", 3)
        site.sync()
        site.gallery.delete("Ada", "faces/Ada/1.jpg")
        site.gallery.forget("Cy")
        site.gallery.forget("Bo")
        server.keep(_item("Cy", 30))
        site.sync()
        assert site.people() == {"Ada": 1}
        assert len(server.items) == 5
        site.enrol("Cy", 31)
        site.sync()
        assert site.people() == {"Ada": 1, "Cy": 1}


def test_a_renamed_person_stays_one(tmp_path: Path, server: PlainServer) -> None:
    """The server learns the new name beside the old one; here the old one does not come back."""
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1, "faces/Ada/1.jpg")
        site.sync()
        site.gallery.ask(Rename("Ada", "Ada L"))
        site.sync()
        site.sync()
        assert site.people() == {"Ada L": 1}
        assert {one["person_name"] for one in server.items.values()} == {"Ada", "Ada L"}


def test_unfit_items_are_set_apart_and_hold_up_nothing(tmp_path: Path, server: PlainServer) -> None:
    """Another dimension, no numbers, infinity, a bad name, no object: each is in quarantine with its reason, once."""
    for number, item in enumerate(
        [
            _item("Short", 1, embedding=[0.5, 0.5]),
            _item("None", 1, embedding=None),
            _item("Zero", 1, embedding=[0.0] * 128),
            _item("../etc", 1),
            _item("N" * 300, 1),
        ]
    ):
        server.items[str(number)] = item
    server.items["text"] = "no object"  # type: ignore[assignment]  # what a wrong server may have
    server.keep(_item("Good", 7))
    with SyncSite(tmp_path / "a", server.address) as site:
        report = site.sync()
        assert site.people() == {"Good": 1}
        assert sum(report.refused_here.values()) == 6
        site.sync()
        assert site.standing().quarantined == 6


def test_the_same_name_with_another_user_id_is_somebody_else(tmp_path: Path, server: PlainServer) -> None:
    """Two user ids are two people, and both are shown."""
    server.keep(_item("Ada", 2, user_id="8"))
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1, user_id="7")
        site.sync()
        assert site.people() == {"Ada": 1, "Ada (8)": 1}


@pytest.mark.parametrize("form", ["html", "empty", "500", "truncated", "no list", "false", "404"])
def test_a_wrong_answer_deletes_nothing_and_is_no_success(tmp_path: Path, server: PlainServer, form: str) -> None:
    """Whatever is no list of references: an error that says so, and the gallery is as it was."""
    with SyncSite(tmp_path / "a", server.address) as site:
        site.enrol("Ada", 1)
        site.sync()

        def answer(handler: Any) -> None:
            if form == "html":
                body, status = b"<html>captive portal</html>", 200
            elif form == "empty":
                body, status = b"", 200
            elif form == "500":
                body, status = b"oops", 500
            elif form == "404":
                body, status = b"{}", 404
            elif form == "no list":
                body, status = b'{"success": true}', 200
            elif form == "false":
                body, status = b'{"success": false, "embeddings": []}', 200
            else:
                body, status = b'{"success": true, "embeddings": [{"person_name": "Bo", "embedding": [0.1', 200
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        server.answer = answer
        with pytest.raises(RollcallError) as caught:
            site.sync()
        assert isinstance(caught.value, BackendFault), caught.value
        assert site.people() == {"Ada": 1}
        server.answer = None
        assert site.sync().is_whole
