"""Fetch from servers that stall, close early, lie about lengths and serve other bytes, over loopback HTTP."""

import hashlib
import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import Archive, FolderCard, Source, read_card
from pipeline.core.errors import UserError
from pipeline.data.sources import download as download_module
from pipeline.data.sources.download import RetryPolicy, download
from pipeline.data.sources.fetch import fetch, import_archive
from tests.data.layout_samples import PACS, write_folders
from tests.data.sources.bad_server import (
    CONTENT,
    SHA,
    Behaviour,
    Server,
    a_chunk_size_that_trickles,
    a_page,
    a_trickle,
    an_endless_body,
    an_extension_without_end,
    announces_less,
    announces_more,
    breaks_off,
    fails,
    headers_that_trickle,
    interim_answers,
    never_answers,
    other_bytes,
    redirects_to_itself,
    redirects_to_nonsense,
    rightly,
    serving,
    stalls,
    the_wrong_part,
    trailers_without_end,
)

FAST = RetryPolicy(attempts=3, timeout=0.5, pause=0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback, which ends with the test."""
    with serving() as site:
        yield site


def get(server: Server, to: Path, checksum: str | None = SHA) -> None:
    download(f"{server.url}/data.bin", to, checksum, FAST)


# --- one file


@pytest.mark.parametrize(
    "behaviours",
    [
        [],
        [breaks_off(100_000)],
        [breaks_off(100_000), breaks_off(100_000)],
        [breaks_off(0)],
        [stalls],
        [never_answers],
        [announces_more, announces_more],
        [announces_less, announces_less],
        [other_bytes],
        [fails(503), fails(429)],
        [breaks_off(100_000), the_wrong_part],
        [breaks_off(100_000), other_bytes, breaks_off(5)],
    ],
)
def test_a_file_comes_whole_whatever_the_server_does_at_first(
    server: Server, tmp_path: Path, behaviours: list[Behaviour]
) -> None:
    server.behaviours = behaviours.copy()
    retries = RetryPolicy(attempts=4, timeout=0.5, pause=0.01)
    download(f"{server.url}/data.bin", tmp_path / "d" / "data.bin", SHA, retries)
    assert (tmp_path / "d" / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["data.bin"]
    asked = len(server.asked)
    assert asked <= 2 + len(behaviours)  # one more if all bytes came before the error
    download(f"{server.url}/data.bin", tmp_path / "d" / "data.bin", SHA, retries)
    assert len(server.asked) == asked  # it is there


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.behaviours = [breaks_off(100_000), breaks_off(50_000)]
    get(server, tmp_path / "data.bin")
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_another_process_goes_on_where_one_was_killed(server: Server, tmp_path: Path) -> None:
    server.behaviours = [breaks_off(120_000)] + [never_answers] * 2
    with pytest.raises(UserError, match=r"120,000 bytes are kept, and the same command resumes from there"):
        get(server, tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()
    server.asked.clear()
    get(server, tmp_path / "data.bin")
    assert server.asked == [("/data.bin", "bytes=120000-")]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"v2"', None])
def test_parts_of_two_versions_are_not_joined(server: Server, tmp_path: Path, etag: str | None) -> None:
    """The file changed, or the server does not tell versions apart; no checksum would reveal it."""
    server.behaviours = [breaks_off(100_000), fails(503), fails(503)]
    with pytest.raises(UserError):
        get(server, tmp_path / "data.bin", None)
    server.files["/data.bin"], server.etag = CONTENT[::-1], etag
    get(server, tmp_path / "data.bin", None)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (stalls, "the connection or a read timed out"),
        (never_answers, "the connection or a read timed out"),
        (breaks_off(10), r"the connection failed or was closed early|received [\d,]+ of [\d,]+ bytes"),
        (announces_more, r"the connection failed or was closed early|received [\d,]+ of [\d,]+ bytes"),
        (announces_less, r"its sha256 is [0-9a-f]{16}…, but the card states [0-9a-f]{16}…"),
        (other_bytes, "its sha256 is"),
        (fails(500), "the server answers 500"),
    ],
)
def test_a_server_that_goes_on_so_is_given_up_and_leaves_no_file(
    server: Server, tmp_path: Path, behaviour: Behaviour, told: str
) -> None:
    server.behaviours = [behaviour] * 50
    with pytest.raises(UserError, match=rf"data\.bin: .*({told}).* \(3 attempts\)") as raised:
        get(server, tmp_path / "data.bin")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data.bin").exists()
    assert 3 <= len(server.asked) <= 6


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (an_endless_body, r"given up, because the server sent [\d,]+ bytes, but no size is stated"),
        (a_trickle, "given up, because it was not complete after 2 s"),
        (interim_answers, "given up, because it was not complete after 2 s|did not end in time"),
        (redirects_to_itself, "more than 10 redirects"),
        (redirects_to_nonsense, r"redirects to an address that can't be read .*\(3 attempts\)"),
        *[
            (behaviour, "given up, because it was not complete after 2 s|did not (end|come) in time")
            for behaviour in (
                trailers_without_end,
                a_chunk_size_that_trickles,
                an_extension_without_end,
                headers_that_trickle,
            )
        ],
    ],
)
@pytest.mark.timeout(60)
def test_a_server_that_never_ends_is_given_up(
    server: Server, tmp_path: Path, behaviour: Behaviour, message: str
) -> None:
    server.behaviours = [behaviour] * 100
    policy = RetryPolicy(attempts=3, timeout=0.5, pause=0.01, seconds=2.0, unknown_size=10**6)
    start = time.monotonic()
    with pytest.raises(UserError, match=message):
        download(f"{server.url}/data.bin", tmp_path / "data.bin", SHA, policy)
    assert time.monotonic() - start < 20
    assert not (tmp_path / "data.bin").exists()


def test_bad_ranges_are_given_up_though_each_attempt_brings_bytes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ENOUGH", 1000)
    server.behaviours = [breaks_off(100_000), the_wrong_part] * 100
    with pytest.raises(UserError, match=r"other bytes than those from 100000 on|failed or was closed"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) < 10


def test_all_attempts_together_have_a_limit(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ENOUGH", 1000)
    server.behaviours = [breaks_off(2000)] * 100
    policy = RetryPolicy(attempts=3, timeout=0.5, pause=0.001, all_attempts=7)
    with pytest.raises(UserError, match="given up, because it was not complete after 7 attempts"):
        download(f"{server.url}/data.bin", tmp_path / "data.bin", SHA, policy)
    assert len(server.asked) == 7
    get(server, tmp_path / "data.bin")  # what came is kept
    assert server.asked[7] == ("/data.bin", "bytes=14000-")


def test_a_file_that_no_disk_holds_is_not_begun(server: Server, tmp_path: Path) -> None:
    server.behaviours = [lambda handler, content: handler.head(200, 10**18)]
    with pytest.raises(UserError, match=r"1,000,000,000,000,000,000 bytes to come, but the disk of"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) == 1


def test_a_file_of_another_size_than_the_cards_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has 300,000 bytes, but the card states 299,999 \(3 attempts\)"):
        download(f"{server.url}/data.bin", tmp_path / "data.bin", None, FAST, size=299_999)
    server.behaviours = [an_endless_body] * 9
    with pytest.raises(UserError, match="bytes, but the file has 300,000"):
        download(f"{server.url}/data.bin", tmp_path / "data.bin", SHA, FAST, size=300_000)
    assert not list(tmp_path.iterdir())
    server.behaviours.clear()
    download(f"{server.url}/data.bin", tmp_path / "data.bin", SHA, FAST, size=300_000)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_will_not_change_is_asked_once(server: Server, tmp_path: Path, status: int) -> None:
    server.behaviours = [fails(status)] * 5
    with pytest.raises(UserError, match=f"the server answers {status}"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) == 1


def test_a_page_instead_of_a_file_wants_a_click(server: Server, tmp_path: Path) -> None:
    server.behaviours = [a_page]
    with pytest.raises(UserError, match="is a web page, not the file: it may need a click or a login"):
        get(server, tmp_path / "data.bin")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the connection failed or was closed early"):
        download("http://127.0.0.1:9/x.zip", tmp_path / "x.zip", None, FAST)


def test_a_wrong_file_is_never_gone_on_from(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each try brings so much that, were it right, it would count as none."""
    monkeypatch.setattr(download_module, "ENOUGH", 1000)
    server.behaviours = [other_bytes] * 50
    with pytest.raises(UserError, match=r"\(3 attempts\)"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) == 3
    assert not list(tmp_path.iterdir())


def test_a_bad_line_that_makes_headway_is_borne(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ENOUGH", 1000)
    server.behaviours = [breaks_off(20_000)] * 12
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["md5", "sha256", "sha512"])
def test_the_first_digits_of_a_checksum_are_enough(server: Server, tmp_path: Path, kind: str) -> None:
    digits = hashlib.new(kind, CONTENT).hexdigest()
    get(server, tmp_path / "data.bin", f"{kind}:{digits[:32]}")
    (tmp_path / "data.bin").write_bytes(b"changed")
    with pytest.raises(UserError, match=rf"its {kind} is .*; delete it and get it again"):
        get(server, tmp_path / "data.bin", f"{kind}:{digits}")


# --- all of a set


def tar_of(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        tar.add(folder, ".")
    return file.getvalue()


@pytest.fixture
def pacs(server: Server, tmp_path: Path) -> FolderCard:
    """PACS, of which the authors have a page, and the server an archive for each domain."""
    card = read_card("pacs")
    root, archives = write_folders(tmp_path / "site", card, PACS), []
    for domain in PACS.values():
        server.files[f"/{domain}.tgz"] = content = tar_of(root / domain)
        checksum = f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"
        archives.append(Archive(url=f"{server.url}/{domain}.tgz", into=domain, checksum=checksum))
    page = Source(by="the authors", page="http://example.org/pacs", steps="Fill in the form.")
    return card.model_copy(update={"sources": [page, Source(by="a mirror", archives=archives)]})


def quiet(name: str) -> Callable[[int, int | None], None]:
    return lambda have, total: None


def test_a_set_is_fetched_unpacked_and_put_in_place(
    server: Server, pacs: FolderCard, data_root: Path
) -> None:
    said: list[str] = []
    server.behaviours = [rightly, breaks_off(500), rightly, stalls]
    about = fetch(pacs, said.append, quiet, FAST)
    assert about.images == {"P": 14, "A": 14, "C": 14, "S": 14}
    assert about.how == "symbolic links"
    assert "licence of pacs: None is stated" in said[0]
    assert said[1] == "from a mirror"
    place = data_root / "pacs"
    assert {path.name for path in place.iterdir()} == {"dataset.json", "images", "index.csv", "unpacked"}
    data_root.rename(data_root.parent / "moved")  # links are relative: the folder may be moved
    assert (data_root.parent / "moved" / "pacs" / "images" / "S" / "dog" / "00001.jpg").is_file()


def test_a_fetch_that_is_stopped_goes_on(server: Server, pacs: FolderCard, data_root: Path) -> None:
    server.behaviours = [rightly, breaks_off(500)] + [fails(503)] * 2
    with pytest.raises(
        UserError, match=r"(?s)pacs could not be fetched: every source failed.*Fill in the form"
    ):
        fetch(pacs, lambda text: None, quiet, FAST)
    assert not (data_root / "pacs" / "images").exists()
    server.asked.clear()
    fetch(pacs, lambda text: None, quiet, FAST)
    assert server.asked == [
        ("/art_painting.tgz", "bytes=500-"),
        ("/cartoon.tgz", None),
        ("/sketch.tgz", None),
    ]


def test_where_a_click_is_wanted_it_says_what_to_do(pacs: FolderCard, server: Server) -> None:
    by_hand = pacs.model_copy(update={"sources": pacs.sources[:1]})
    with pytest.raises(UserError) as raised:
        fetch(by_hand, lambda text: None, quiet, FAST)
    for told in (
        "no source works without a browser",
        "http://example.org/pacs",
        "Fill in the form.",
        "datasets import pacs FOLDER_OR_ARCHIVE",
    ):
        assert told in str(raised.value)
    assert not server.asked


def test_the_next_source_is_asked_if_one_has_a_bad_archive(
    server: Server, pacs: FolderCard, tmp_path: Path, data_root: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil.jpg", b"x")
    server.files["/evil.zip"] = file.getvalue()
    bad = Source(by="a stranger", archives=[Archive(url=f"{server.url}/evil.zip")])
    said: list[str] = []
    fetch(pacs.model_copy(update={"sources": [bad, *pacs.sources]}), said.append, quiet, FAST)
    assert any("'../../evil.jpg' leads out of the folder" in text for text in said)
    assert not list(tmp_path.rglob("evil*"))


def test_an_archive_got_by_hand_is_checked_and_imported(
    pacs: FolderCard, server: Server, tmp_path: Path, data_root: Path
) -> None:
    archive = tmp_path / "PACS.tar.gz"
    archive.write_bytes(tar_of(tmp_path / "site"))
    checksum = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    by_hand = Source(
        by="the authors", page="http://x", archives=[Archive(file="PACS.tar.gz", checksum=checksum)]
    )
    card, said = pacs.model_copy(update={"sources": [by_hand]}), []
    assert sum(import_archive(card, archive, said.append).images.values()) == 56
    assert "PACS.tar.gz has the checksum of the card" in said
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"PACS\.tar\.gz: its sha256 is .* delete it and get it again"):
        import_archive(card, archive, said.append)
    assert (data_root / "pacs" / "images").exists()  # what is in place stays
