"""Model packs: what is told of them, how they get onto a site, and what every unfit one is answered."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import ssl
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from shared.errors import ConfigurationError, RefusedError, TemporaryError
from shared.settings.file import parse_settings
from shared.settings.schema import Settings
from tests.support.paths import SMALL_PACK, needs_data, needs_dlib
from tests.support.serving import Serving
from tests.support.strict_camera import make_certificate
from tests.support.tiny_pack import DIM, detector, recogniser, write_described_pack, write_pack
from workers.models import download as pack_source
from workers.models import packs as model_packs
from workers.models.packs import describe, ensure_pack, install, installed_packs
from workers.recognition import pack as onnx_pack
from workers.recognition.fingerprint import file_sha256
from workers.recognition.free_packs import FREE_PACKS, FreePack, PublishedFile
from workers.recognition.pack import read_model, read_pack
from workers.recognition.pixels import Pixels


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "from" / "tiny")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models"


def pack_zip(pack: Path, archive: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted(pack.iterdir()):
            opened.write(file, f"{top}{file.name}")
    return archive


class Zoo:
    """A folder served over HTTPS, and the same over HTTP; `moved`: what answers with a redirect, by path."""

    def __init__(self, folder: Path, certificate: Path) -> None:
        self.folder = folder
        self.moved: dict[str, str] = {}
        zoo = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path not in zoo.moved:
                    super().do_GET()
                    return
                self.send_response(302)
                self.send_header("Location", zoo.moved[self.path])
                self.end_headers()

            def translate_path(self, path: str) -> str:
                return str(folder / path.strip("/"))

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        servers[0].socket = context.wrap_socket(servers[0].socket, server_side=True)
        self.https, self.http = (
            f"{scheme}://127.0.0.1:{server.server_port}"
            for scheme, server in zip(("https", "http"), servers, strict=True)
        )
        self.serving = [Serving(server) for server in servers]


@pytest.fixture
def model_zoo(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    """A server on this machine in place of insightface's model zoo, which publishes `tiny`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    (tmp_path / "zoo").mkdir()
    certificate = make_certificate(tmp_path, "zoo", "IP:127.0.0.1")
    zoo = Zoo(tmp_path / "zoo", certificate)
    monkeypatch.setattr(onnx_pack, "DOWNLOAD_URL", zoo.https + "/{name}.zip")
    monkeypatch.setitem(onnx_pack.PUBLISHED, "tiny", published(tiny))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    https, http = zoo.serving
    with https, http:
        yield zoo


def published(pack: Path) -> tuple[str, str]:
    """What a pack is known by: its detection's and its recogniser's digest."""
    return file_sha256(pack / "det_tiny.onnx"), file_sha256(pack / "rec_tiny.onnx")


def settings(tmp_path: Path, **recognition: str) -> Settings:
    return parse_settings({"recognition": recognition}, tmp_path / "site.toml", {})


# What a pack's files are


@pytest.mark.parametrize(("side", "task"), [(112, "recognition"), (128, "recognition"), (192, "other"), (96, "other")])
def test_task_shows_in_the_graph(tmp_path: Path, side: int, task: str) -> None:
    """A file is told by its input's size, as insightface tells it: 192 pixels are landmarks, 96 attributes."""
    recogniser(tmp_path / "a.onnx", side=side)
    assert read_model(tmp_path / "a.onnx").task == task


@pytest.mark.parametrize(("normalises", "expected"), [(False, (127.5, 127.5)), (True, (0.0, 1.0))])
def test_normalising_graph_is_seen(tmp_path: Path, normalises: bool, expected: tuple[float, float]) -> None:
    """A model that normalises by itself gets plain pixels; the fingerprint says so."""
    recogniser(tmp_path / "a.onnx", normalises=normalises)
    model = read_model(tmp_path / "a.onnx")
    assert model.pixels == Pixels(*expected)


def test_weights_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    """Older exporters list every weight among the graph's inputs; such a recogniser is still one."""
    recogniser(tmp_path / "a.onnx")
    model = onnx.load(str(tmp_path / "a.onnx"))
    weights = model.graph.initializer[0]
    model.graph.input.insert(0, onnx.helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims))
    onnx.save(model, str(tmp_path / "a.onnx"))
    assert read_model(tmp_path / "a.onnx").task == "recognition"


@needs_data
def test_small_pack_is_read_as_what_it_is() -> None:
    """The real pack: SCRFD with landmarks, and a recogniser of 112 pixels, 512 numbers, any batch."""
    pack = read_pack(SMALL_PACK)
    assert (pack.detection.path.name, pack.detection.has_points) == ("det_500m.onnx", True)
    found = pack.recognition
    assert (found.path.name, found.side_px, found.dim, found.batch) == ("mobilefacenet_512d_dyn.onnx", 112, 512, None)


# What unfit packs are answered


def spoil_missing(pack: Path) -> None:
    for file in pack.iterdir():
        file.unlink()
    pack.rmdir()


def spoil_empty(pack: Path) -> None:
    for file in pack.iterdir():
        file.unlink()


def spoil_no_recogniser(pack: Path) -> None:
    (pack / "rec_tiny.onnx").unlink()


def spoil_no_detector(pack: Path) -> None:
    (pack / "det_tiny.onnx").unlink()


def spoil_two_recognisers(pack: Path) -> None:
    recogniser(pack / "rec_other.onnx", seed=1)


def spoil_no_landmarks(pack: Path) -> None:
    detector(pack / "det_tiny.onnx", points=False)


def spoil_truncated(pack: Path) -> None:
    os.truncate(pack / "rec_tiny.onnx", 1000)


def spoil_zero_bytes(pack: Path) -> None:
    os.truncate(pack / "rec_tiny.onnx", 0)


def spoil_external_weights(pack: Path) -> None:
    model = onnx.load(str(pack / "rec_tiny.onnx"))
    onnx.save(model, str(pack / "rec_tiny.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)


def with_node(pack: Path, node: onnx.NodeProto) -> None:
    """The recogniser with one more node, whose output nobody uses."""
    model = onnx.load(str(pack / "rec_tiny.onnx"))
    model.graph.node.append(node)
    onnx.save(model, str(pack / "rec_tiny.onnx"))


def outside() -> onnx.TensorProto:
    """A tensor whose values lie in a file of their own."""
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def spoil_external_constant(pack: Path) -> None:
    with_node(pack, onnx.helper.make_node("Constant", [], ["unused"], value=outside()))


def spoil_external_in_sub_graph(pack: Path) -> None:
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["inner"], value=outside())],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, [1])],
    )
    with_node(pack, onnx.helper.make_node("If", ["input"], ["unused"], then_branch=inner, else_branch=inner))


def spoil_external_in_function(pack: Path) -> None:
    model = onnx.load(str(pack / "rec_tiny.onnx"))
    constant = onnx.helper.make_node("Constant", [], ["w"], value=outside())
    imports = [onnx.helper.make_opsetid("", 13)]
    model.functions.append(onnx.helper.make_function("ours", "F", [], ["w"], [constant], imports))
    onnx.save(model, str(pack / "rec_tiny.onnx"))


def spoil_external_sparse(pack: Path) -> None:
    model = onnx.load(str(pack / "rec_tiny.onnx"))
    indices = onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(outside(), indices, [4]))
    onnx.save(model, str(pack / "rec_tiny.onnx"))


def spoil_manifest(pack: Path) -> None:
    (pack / "manifest.json").write_text(json.dumps({"manifest_version": 2, "model_id": "tiny"}))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (spoil_missing, r"'tiny' is not installed.*models install /path/to/tiny\.zip.*engine = \"dlib\""),
        (spoil_empty, "holds no .onnx file"),
        (spoil_no_recogniser, "no face recognition model.*det_tiny.onnx: detection.*models install"),
        (spoil_no_detector, "no face detection model"),
        (spoil_two_recognisers, "2 face recognition models.*rec_other.onnx, rec_tiny.onnx.*remove all but one"),
        (spoil_no_landmarks, "gives no landmarks"),
        (spoil_truncated, "rec_tiny.onnx: is damaged"),
        (spoil_zero_bytes, "rec_tiny.onnx: is damaged"),
        (spoil_external_weights, "weights in a file of their own"),
        (spoil_external_constant, "weights in a file of their own"),
        (spoil_external_in_sub_graph, "weights in a file of their own"),
        (spoil_external_in_function, "weights in a file of their own"),
        (spoil_external_sparse, "weights in a file of their own"),
        (spoil_manifest, "manifest.json of version 2"),
    ],
)
def test_unfit_packs_are_named_before_anything_is_loaded(tiny: Path, spoil: object, text: str) -> None:
    """Each way in which a pack can be unfit is one configuration error that says which file, and what to do."""
    assert callable(spoil)
    spoil(tiny)
    with pytest.raises(ConfigurationError, match=text):
        read_pack(tiny)


# Installing


def test_folder_is_installed_without_what_is_not_needed(tiny: Path, models: Path) -> None:
    """From a folder: detection and recognition only, for the owner only, and nothing left beside."""
    pack = install(tiny, models)
    assert (pack.name, pack.engine, pack.dim, pack.path) == ("tiny", "insightface", DIM, models / "tiny")
    assert {(file.name, file.stat().st_mode & 0o777) for file in pack.path.iterdir()} == {
        ("det_tiny.onnx", 0o600),
        ("rec_tiny.onnx", 0o600),
    }
    assert pack.path.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in models.iterdir()] == ["tiny"]
    assert pack.fingerprint == describe(tiny).fingerprint


@pytest.mark.parametrize("top", ["", "some-folder/"])
def test_zip_is_installed_flat_or_with_one_top_folder(tiny: Path, models: Path, tmp_path: Path, top: str) -> None:
    """From a ZIP, named after it, whether its models lie at the top or one folder down."""
    assert install(pack_zip(tiny, tmp_path / "carried.zip", top=top), models).path == models / "carried"


def test_same_pack_again_is_fine_another_of_that_name_is_not(tiny: Path, models: Path, tmp_path: Path) -> None:
    """Installing twice changes nothing; another pack never takes an installed one's name."""
    first = install(tiny, models)
    assert install(tiny, models) == first
    other = write_pack(tmp_path / "other" / "tiny", seed=1)
    with pytest.raises(RefusedError, match="another model pack of this name"):
        install(other, models)
    assert describe(models / "tiny") == first


def test_zip_that_leads_outside_is_refused(tiny: Path, models: Path, tmp_path: Path) -> None:
    """A path that climbs out of the archive is refused, and nothing is written anywhere."""
    archive = pack_zip(tiny, tmp_path / "evil.zip", top="../../")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RefusedError, match="outside its folder"):
        install(archive, models)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == [models.parent, models]


def test_zip_bomb_stops_at_the_limit(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of a ZIP is counted, not believed: past the limit nothing more is written."""
    monkeypatch.setattr(pack_source, "MAX_FILE_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("rec.onnx", bytes(64 << 20))
    with pytest.raises(RefusedError, match="too large"):
        install(tmp_path / "bomb.zip", models)
    assert not list(models.iterdir())


def test_damaged_and_false_zips_are_refused(tiny: Path, models: Path, tmp_path: Path) -> None:
    """A ZIP with a flipped byte, and a file that only bears the name."""
    archive = pack_zip(tiny, tmp_path / "cut.zip")
    content = bytearray(archive.read_bytes())
    content[400] ^= 0xFF
    archive.write_bytes(content)
    (tmp_path / "text.zip").write_text("no archive")
    for name in ("cut.zip", "text.zip"):
        with pytest.raises(RefusedError, match="can't be unpacked"):
            install(tmp_path / name, models)


def test_unfit_source_is_told_by_its_own_path(tiny: Path, models: Path) -> None:
    """A source with no recogniser is refused by the path that the operator typed, and nothing is installed."""
    spoil_no_recogniser(tiny)
    with pytest.raises(ConfigurationError, match="no face recognition model") as fault:
        install(tiny, models)
    assert fault.value.where == str(tiny)
    assert not list(models.iterdir())


def test_pack_that_does_not_run_is_not_installed(tiny: Path, models: Path) -> None:
    """A graph that reads well and fails in onnxruntime is found out before it is installed."""
    model = onnx.load(str(tiny / "rec_tiny.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, str(tiny / "rec_tiny.onnx"))
    with pytest.raises(ConfigurationError, match=r"does not run.*NoSuchOperator"):
        install(tiny, models)
    assert not list(models.iterdir())


def test_pack_that_eats_up_memory_is_not_installed(tiny: Path, models: Path) -> None:
    """A graph of kilobytes that makes gigabytes when its session is built: refused within its limits, this process untouched."""
    model = onnx.load(str(tiny / "rec_tiny.onnx"))
    shape = onnx.numpy_helper.from_array(np.array([700 << 20], np.int64), "much")
    model.graph.initializer.append(shape)
    nodes = [
        onnx.helper.make_node("ConstantOfShape", ["much"], ["plenty"]),
        onnx.helper.make_node("ReduceSum", ["plenty"], ["sum"], keepdims=0),
        onnx.helper.make_node("Add", ["output", "sum"], ["total"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.output[0].name = "total"
    onnx.save(model, str(tiny / "rec_tiny.onnx"))
    with pytest.raises(ConfigurationError, match="the model pack does not run"):
        install(tiny, models)
    assert not list(models.iterdir())


@pytest.mark.parametrize("source", ["/no/such/folder", "missing.zip", "../up", "spaces in it", ".hidden"])
def test_sources_that_are_none_are_refused(models: Path, source: str) -> None:
    """What is neither there nor a pack's name is refused before anything is fetched."""
    with pytest.raises(RefusedError):
        install(source, models)


def test_full_disk_is_temporary(tiny: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room left while copying: a temporary error, and no half pack."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(models / "rec_tiny.onnx"))

    monkeypatch.setattr(model_packs, "copyfile", full)
    with pytest.raises(TemporaryError, match="disk is full"):
        install(tiny, models)
    assert not list(models.iterdir())


def test_what_a_killed_installation_left_goes_after_a_day(tiny: Path, models: Path) -> None:
    """Yesterday's staging folder is removed, a fresh one (somebody else's) is not; neither is listed as a pack."""
    old, fresh = models / ".installing-old", models / ".installing-fresh"
    old.mkdir(parents=True)
    fresh.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    install(tiny, models)
    assert [path.name for path in sorted(models.iterdir())] == [".installing-fresh", "tiny"]
    assert [pack.name for pack in installed_packs(models) if pack.engine == "insightface"] == ["tiny"]


# Over the network


def test_name_is_fetched_once(tiny: Path, models: Path, model_zoo: Zoo) -> None:
    """A name comes from the model zoo, with progress; once installed it is not fetched again."""
    archive = pack_zip(tiny, model_zoo.folder / "tiny.zip")
    seen: list[tuple[int, int | None]] = []
    pack = install("tiny", models, lambda done, total: seen.append((done, total)))
    assert pack.path == models / "tiny"
    assert seen[-1] == (archive.stat().st_size, archive.stat().st_size)
    archive.unlink()
    assert install("tiny", models) == pack


def test_name_that_the_zoo_does_not_have(models: Path, model_zoo: Zoo) -> None:
    """An unknown name, and one that is known and not there: one configuration error, with the other ways to get a model."""
    assert not list(model_zoo.folder.iterdir())
    with pytest.raises(ConfigurationError, match=r"no pack of this name is known.*install /path/to/wrong\.zip.*dlib"):
        install("wrong", models)
    assert not models.exists()
    with pytest.raises(ConfigurationError, match=r"the model zoo has no pack of this name.*install /path/to/tiny\.zip"):
        install("tiny", models)
    assert not list(models.iterdir())


def test_what_was_not_published_is_not_installed(tiny: Path, models: Path, model_zoo: Zoo, tmp_path: Path) -> None:
    """A fit pack that is another one than the published, as whoever answers in the zoo's place may send: refused, with both sums;
    from disk, by who has checked it, it is installed."""
    other = write_pack(tmp_path / "other" / "tiny", seed=1)
    archive = pack_zip(other, model_zoo.folder / "tiny.zip")
    with pytest.raises(ConfigurationError, match=r"is not the published tiny.*rec_tiny\.onnx with SHA-256") as fault:
        install("tiny", models)
    assert file_sha256(other / "rec_tiny.onnx") in str(fault.value)
    assert file_sha256(tiny / "rec_tiny.onnx") in str(fault.value)
    assert not list(models.iterdir())
    assert install(archive, models).name == "tiny"


def test_redirects_lead_to_https_only(tiny: Path, models: Path, model_zoo: Zoo) -> None:
    """To another place over https: followed; off https, and round and round: refused, nothing fetched."""
    pack_zip(tiny, model_zoo.folder / "elsewhere.zip")
    model_zoo.moved = {"/tiny.zip": model_zoo.http + "/elsewhere.zip"}
    with pytest.raises(ConfigurationError, match="leads off https"):
        install("tiny", models)
    model_zoo.moved = {"/tiny.zip": "/tiny.zip"}
    with pytest.raises(ConfigurationError, match="more than 5 redirects"):
        install("tiny", models)
    assert not list(models.iterdir())
    model_zoo.moved = {"/tiny.zip": model_zoo.https + "/elsewhere.zip"}
    assert install("tiny", models).name == "tiny"


def test_published_sums_are_of_the_real_files() -> None:
    """Every published pack has two sums of 64 digits; the one file of them among the test data has its sum."""
    assert set(onnx_pack.PUBLISHED) == {"buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2"}
    for sums in onnx_pack.PUBLISHED.values():
        assert [len(bytes.fromhex(one)) for one in sums] == [32, 32]
    if (SMALL_PACK / "det_500m.onnx").exists():
        assert file_sha256(SMALL_PACK / "det_500m.onnx") == onnx_pack.PUBLISHED["buffalo_s"][0]


def test_a_free_pack_is_fetched_by_name_and_checked(
    models: Path, model_zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File by file from where its makers publish them. Another file, or a longer one, is refused, and nothing is left behind."""
    made = write_described_pack(model_zoo.folder / "made")
    says = read_pack(made).says
    assert says is not None
    names = (says.detector.file, says.recogniser.file)
    files = [PublishedFile(name, f"{model_zoo.https}/made/{name}", (made / name).stat().st_size) for name in names]
    monkeypatch.setitem(FREE_PACKS, "free", FreePack(says, (files[0], files[1])))
    right = (made / names[1]).read_bytes()
    for wrong, fault in ((right[:-1] + b"x", "is another file"), (right + b"x", "more than")):
        (made / names[1]).write_bytes(wrong)
        with pytest.raises(ConfigurationError, match=fault):
            install("free", models)
        assert not list(models.iterdir())
    (made / names[1]).write_bytes(right)
    pack = install("free", models)
    assert (pack.name, pack.licence, pack.commercial_use) == ("free", says.licence, True)
    assert sorted(path.name for path in (models / "free").iterdir()) == sorted(names)
    assert describe(models / "free") == pack == install("free", models)


def test_login_page_instead_of_a_pack(models: Path, model_zoo: Zoo) -> None:
    """A proxy that answers with a page is told apart from a pack."""
    (model_zoo.folder / "tiny.zip").write_text("<html>please log in</html>")
    with pytest.raises(ConfigurationError, match="no ZIP"):
        install("tiny", models)


def test_without_a_network_one_error_says_what_to_put_where(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection: which file to fetch elsewhere, how to install it from a stick, and the engine without download."""
    monkeypatch.setattr(onnx_pack, "DOWNLOAD_URL", "https://127.0.0.1:9/{name}.zip")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    text = r"could not be fetched \(no connection\).*https://.*/buffalo_l\.zip.*install /path/to/buffalo_l\.zip.*dlib"
    with pytest.raises(ConfigurationError, match=text) as fault:
        install("buffalo_l", models)
    assert fault.value.where == str(models / "buffalo_l")
    assert "\n" not in fault.value.line()


def test_download_address_is_insightfaces_own() -> None:
    """Our address of the model zoo is the one that the installed insightface uses."""
    from insightface.utils.storage import model_zoo_download_url

    assert onnx_pack.DOWNLOAD_URL.format(name="buffalo_l") == model_zoo_download_url("buffalo_l.zip")


# What the supervisor and `models` ask


def test_configured_pack_that_is_there_needs_no_network(tiny: Path, tmp_path: Path) -> None:
    """A pack in models_dir is taken as it lies, extra files and all."""
    pack = ensure_pack(settings(tmp_path, model="tiny", models_dir=str(tiny.parent)))
    assert (pack.path, pack.fingerprint) == (tiny, describe(tiny).fingerprint)


def test_configured_pack_that_is_absent_is_fetched(tiny: Path, tmp_path: Path, model_zoo: Zoo) -> None:
    """A missing pack is fetched into models_dir before any worker starts."""
    pack_zip(tiny, model_zoo.folder / "tiny.zip")
    assert ensure_pack(settings(tmp_path, model="tiny")).path == tmp_path / "data" / "models" / "tiny"


def test_configured_model_that_is_no_name(tmp_path: Path) -> None:
    """A path in `model` is refused: it would lead out of models_dir."""
    with pytest.raises(ConfigurationError, match=r"\[recognition\] model"):
        ensure_pack(settings(tmp_path, model="../elsewhere"))


@needs_dlib
def test_dlib_needs_no_pack(tmp_path: Path) -> None:
    """With engine = "dlib" there is nothing to fetch, and nothing is created."""
    pack = ensure_pack(settings(tmp_path, engine="dlib"))
    assert (pack.name, pack.engine, pack.dim, "public domain" in pack.licence) == ("dlib", "dlib", 128, True)
    assert not list(tmp_path.iterdir())


def test_listing_names_faulty_packs_too(tiny: Path) -> None:
    """`models` shows a pack that can't be used, with the reason, instead of failing."""
    write_pack(tiny.parent / "buffalo_l")
    spoil_truncated(tiny)
    good, bad = [pack for pack in installed_packs(tiny.parent) if pack.engine == "insightface"]
    assert (good.name, good.fault, "non-commercial" in good.licence) == ("buffalo_l", "", True)
    assert (bad.name, bad.fingerprint, "is damaged" in bad.fault) == ("tiny", "", True)
    assert good.size_bytes == sum(file.stat().st_size for file in good.path.iterdir())
