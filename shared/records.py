"""The records that describe a person, a reference and a stranger to other modules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Side(StrEnum):
    """From which side a photo shows a face, as the picture is seen."""

    FRONT = "front"
    LEFT = "left"  # turned to the left of the picture
    RIGHT = "right"


# The turn from which a face counts as turned to a side. Measured with the small test pack on 397 people of LFW with two to eleven photos.
# Against a photo from the other side (turns of .2 to .35) a face scores .66, against one of the same side .72. A face turned by .15 or more
# scores .66 if both of two photos show the other side, .69 if one of them is from the front, .73 if both are. With dlib 18 in 100 such
# faces are below the threshold, else 12. Of these people 7 have photos of one side only; at .1 it would be 22, at .2 two.
SIDE_FROM = 0.15
MOST_TURN = 2.0  # far beyond a profile


def side_of(turn: float | None) -> Side | None:
    """The side that a turn (workers/recognition/turn.py) is. None: not known."""
    if turn is None:
        return None
    return Side.FRONT if abs(turn) < SIDE_FROM else Side.LEFT if turn < 0 else Side.RIGHT


class NewReference(NamedTuple):
    """A reference to save, without its vector. With a `uuid`, saving it twice has the same effect as saving it once.

    `image_path`: relative to data_dir. `photo_digest`: SHA-256 of the photo's bytes. `turn`: how far the head is turned sideways
    (workers/recognition/turn.py); None: not known.
    """

    person_name: str
    image_path: str | None = None
    user_id: str | None = None
    uuid: str | None = None
    photo_digest: str | None = None
    turn: float | None = None


class Role(StrEnum):
    """What somebody may do in the web part. Each role may do what the ones before it may."""

    VIEWER = "viewer"  # sees the cameras and the sightings
    OPERATOR = "operator"  # enrols, corrects, names strangers
    ADMIN = "admin"  # forgets, changes settings, lets others in

    def includes(self, other: Role) -> bool:
        """Whether this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class AccessKind(StrEnum):
    """How somebody comes into the web part."""

    LINK = "link"  # signs in once
    SESSION = "session"  # a browser that is signed in
    TOKEN = "token"  # noqa: S105  # the kind's name  # a program
    PASSWORD = "password"  # noqa: S105  # the kind's name  # somebody who signs in with name and password


@dataclass(frozen=True)
class Access:
    """The right of a browser, a program or a person to use the web part. `id`: a name for a password, else random.

    `label`: whose it is, for people. `cameras`: only what these see is shown; None: all cameras. `expires_at`: None: never. `parent`: of
    a session, the id of the link or the password that it was signed in with. `session_s`: of a
    link or a password, how long a session lasts. Times are ISO 8601, UTC.
    """

    id: str
    kind: AccessKind
    role: Role
    label: str
    cameras: list[str] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None = None
    parent: str | None = None
    session_s: float | None = None


@dataclass(frozen=True)
class Person:
    """An enrolled person. `references`: how many they have; `set_aside`: how many of these are set aside. `id`: a UUID, which stays when
    the name changes. Times are ISO 8601, UTC."""

    person: str
    user_id: str | None
    references: int
    enrolled_at: str | None
    updated_at: str | None
    set_aside: int = 0
    id: str | None = None


@dataclass(frozen=True)
class PeopleChange:
    """A rename or a merge that can be undone: who was called `before` is called `person` since `at` (ISO 8601, UTC)."""

    before: str
    person: str
    merged: bool
    at: str


@dataclass(frozen=True)
class Reference:
    """A stored reference without its vector. `image_path`: relative to data_dir; `photo_digest`: SHA-256 of the photo's bytes.

    `set_aside_since`, `set_aside_reason`: None if the reference is in use. `right_since`: since when somebody has said that it is right,
    although it disagrees with its person; None: nobody has. `side`: from which side the photo shows the face; None: not
    known. Times are ISO 8601, UTC.
    """

    id: int
    person: str
    image_path: str | None
    photo_digest: str | None
    change_number: int | None
    enrolled_at: str | None = None
    set_aside_since: str | None = None
    set_aside_reason: str | None = None
    right_since: str | None = None
    side: Side | None = None


@dataclass(frozen=True)
class Stranger:
    """A person who was seen and is not enrolled. `id`: like stranger-17. `photos`: paths of their pictures relative to data_dir, the best
    first. Times are ISO 8601, UTC."""

    id: str
    first_seen: str
    last_seen: str
    visits: int
    cameras: list[str]
    photos: list[str]


@dataclass(frozen=True)
class Correction:
    """A sighting that a person judged. `judged`: wrong or right. `person`: who was named or, for a near miss, whom the face resembled most.

    `against_all`: the face is withheld as everybody's, and not only as `person`'s. `in_effect`: a wrong one is withheld now; its face is
    no longer kept once the model has changed. `reference`: the id of the reference of `person` that resembled the face most (wrong), or
    that was learned (right). Times are ISO 8601, UTC.
    """

    sighting: int
    judged: str
    person: str
    camera: str
    track: int | None
    made_at: str
    expires_at: str
    against_all: bool
    in_effect: bool
    reference: int | None
