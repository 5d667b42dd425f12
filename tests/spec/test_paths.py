"""Where sources come from and go to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connect_helper.errors import InvalidRequest, NotGranted
from connect_helper.spec.paths import (
    DownloadPath,
    UploadPath,
    default_title,
    download_targets,
    set_names,
    upload_targets,
)
from connect_helper.spec.transfer_spec import parse_spec

MakeRaw = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("fields", "source", "remote"),
    [
        ({}, "/data/a.txt", "a.txt"),
        ({"destination_root": "/"}, "/data/a.txt", "a.txt"),
        ({"destination_root": "in/box/"}, "/data/a.txt", "in/box/a.txt"),
        ({"destination_root": "/in"}, "/data/a.txt", "/in/a.txt"),
        ({"source_root": "/"}, "/data/a.txt", "a.txt"),
        ({"source_root": "/home/ann"}, "/home/ann/data/a.txt", "a.txt"),
        ({"source_root": "/home/ann/", "paths": [{"source": "x"}]}, "/home/ann/x", "x"),
        ({"paths": [{"source": "C:\\Users\\a.txt"}]}, "C:\\Users\\a.txt", "a.txt"),
        ({"paths": [{"source": "/odd\\name"}]}, "/odd\\name", "odd\\name"),
        ({"paths": [{"source": "/a", "destination": "n/b.txt"}], "destination_root": "d"}, "/a", "d/n/b.txt"),
        ({"paths": [{"source": "/a", "destination": "/b.txt"}]}, "/a", "b.txt"),
        ({"src_base": "/data"}, "/data/a.txt", "a.txt"),
        (
            {"paths": [{"source": "/d1/d2/f"}], "src_base": "/d1", "destination_root": "d"},
            "/d1/d2/f",
            "d/d2/f",
        ),
    ],
)
def test_an_upload_goes_below_the_destination(
    make_raw: MakeRaw, fields: dict[str, Any], source: str, remote: str
) -> None:
    assert upload_targets(parse_spec(make_raw(**fields))) == (UploadPath(source, remote),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, DownloadPath("/data/a.txt", "", ("a.txt",))),
        ({"destination_root": "/in//box"}, DownloadPath("/data/a.txt", "", ("in", "box", "a.txt"))),
        ({"source_root": "/out"}, DownloadPath("/out/data/a.txt", "", ("a.txt",))),
        ({"paths": [{"source": "/"}]}, None),
        ({"paths": [{"source": "."}]}, None),
        ({"paths": [{"source": "/a/.."}]}, None),
        ({"paths": [{"source": "C:\\"}]}, None),
        ({"paths": [{"source": "/", "destination": "all"}]}, DownloadPath("/", "", ("all",))),
        ({"paths": [{"source": "/a", "destination": "/"}]}, None),
        ({"paths": [{"source": "/a/" + "x" * 256}]}, None),
        ({"paths": [{"source": "/a/b\\c"}]}, None),
        ({"paths": [{"source": "/b/f"}], "src_base": "/a"}, None),
        ({"paths": [{"source": "/a"}], "src_base": "/a"}, None),
        ({"paths": [{"source": "/a/../../f"}], "src_base": "/a"}, None),
        ({"paths": [{"source": "/a", "destination": "x/" * 101 + "y"}]}, None),
        ({"paths": [{"source": "/d1/d2/"}], "src_base": "/d1"}, DownloadPath("/d1/d2/", "", ("d2",))),
    ],
)
def test_a_download_gets_safe_names(
    make_raw: MakeRaw, fields: dict[str, Any], expected: DownloadPath | None
) -> None:
    spec = parse_spec(make_raw(**{"direction": "receive", **fields}))
    if expected is None:
        with pytest.raises(InvalidRequest):
            download_targets(spec, absolute=False)
    else:
        assert download_targets(spec, absolute=False) == (expected,)


@pytest.mark.parametrize(
    "text", ["..", "../x", "a/../../x", "a\\..\\b", "C:/x", "c:x", "\\\\host\\share", "a/D:x"]
)
@pytest.mark.parametrize("place", ["destination_root", "destination"])
def test_a_destination_that_climbs_out_needs_a_dialog(make_raw: MakeRaw, text: str, place: str) -> None:
    if place == "destination_root":
        raw = make_raw(direction="receive", destination_root=text)
    else:
        raw = make_raw(direction="receive", paths=[{"source": "/a", "destination": text}])
    with pytest.raises(NotGranted) as caught:
        download_targets(parse_spec(raw), absolute=False)
    assert caught.value.user_message == "Choose a folder."
    assert caught.value.http_status == 403


def test_an_upload_may_not_climb_out_of_its_destination(make_raw: MakeRaw) -> None:
    spec = parse_spec(make_raw(paths=[{"source": "/a", "destination": "../b"}], destination_root="in"))
    with pytest.raises(InvalidRequest):
        upload_targets(spec)


@pytest.mark.parametrize("root", ["/home/ann/dl", "C:\\Users\\ann", "\\\\host\\share", "/home/../x"])
def test_an_absolute_destination_is_handed_on_exactly(make_raw: MakeRaw, root: str) -> None:
    spec = parse_spec(make_raw(direction="receive", destination_root=root))
    assert download_targets(spec, absolute=True) == (DownloadPath("/data/a.txt", root, ("a.txt",)),)


@pytest.mark.parametrize("root", ["", "dl", "~/dl", "file:///x", "C:x"])
def test_an_absolute_destination_must_be_one(make_raw: MakeRaw, root: str) -> None:
    spec = parse_spec({**make_raw(direction="receive"), "destination_root": root})
    with pytest.raises(InvalidRequest) as caught:
        download_targets(spec, absolute=True)
    assert caught.value.field == "destination_root"


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": "Mine"}, "Mine"),
        ({}, "a.txt"),
        ({"paths": [{"source": "/a/b/"}, {"source": "/c"}, {"source": "/d"}]}, "b and 2 more"),
        ({"paths": [{"source": "/a", "destination": "n/new.txt"}]}, "new.txt"),
        ({"paths": [{"source": "/"}]}, "/"),
    ],
)
def test_a_transfer_has_a_title(make_raw: MakeRaw, fields: dict[str, Any], title: str) -> None:
    assert default_title(parse_spec(make_raw(**fields))) == title


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"paths": [{"source": "/d/p"}]}, (("p",),)),
        ({"source_root": "/r", "paths": [{"source": "d/p/"}, {"source": "/e"}]}, (("p",), ("e",))),
        ({"paths": [{"source": "/d/p", "destination": "q"}]}, (("p",),)),
        ({"src_base": "/d", "paths": [{"source": "/d/p/x"}]}, (("p", "x"),)),
        ({"paths": [{"source": "/", "destination": "q"}]}, ((),)),
        ({"paths": [{"source": "C:\\d\\p"}]}, (("p",),)),
    ],
)
def test_patterns_look_at_the_names_of_the_source(
    make_raw: MakeRaw, fields: dict[str, Any], names: tuple[tuple[str, ...], ...]
) -> None:
    assert set_names(parse_spec(make_raw(**fields))) == names


def test_a_source_outside_of_src_base_has_no_names(make_raw: MakeRaw) -> None:
    with pytest.raises(InvalidRequest) as caught:
        set_names(parse_spec(make_raw(src_base="/e")))
    assert caught.value.field == "paths[0].source"
