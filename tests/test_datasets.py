"""Data sets on real components: servers that fail, hostile archives, killed runs, full disks, two processes at once."""
import contextlib
import functools
import gzip
import hashlib
import io
import lzma
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image

from exp import datasets as ds
from exp.datasets import DATASETS, DatasetInfo, choose_data, dataset_table, fetch, load_data, read_idx
from exp.downloads import (DataError, RemoteFile, cache_folder, download, download_new, extract, file_checksum, find_file,
                           list_members, why_unsafe, write_whole)

ROOT = Path(__file__).resolve().parent.parent
MIRROR = os.environ.get("EXP_MIRROR", "")        # before the fixture takes it away


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Every test has a cache of its own and no mirror; loopback is never asked through a proxy."""
    monkeypatch.setenv("EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("EXP_MIRROR", "EXP_DATA"):
        monkeypatch.delenv(name, raising=False)


# --- servers ---------------------------------------------------------------------------------------------------------

class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` under paths that say how: /ok, /corrupt, /cut, /slow; anything else is 404."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.server.asked.append(self.path)
        self.answer(body=True)

    def answer(self, body):
        how, data = self.path.split("/")[1], self.server.content
        if how not in ("ok", "corrupt", "cut", "slow"):
            return self.send_error(404)
        if how == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if how == "slow":
            time.sleep(1.0)
        self.wfile.write(data[: len(data) // 2] if how == "cut" else data)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A server on a free port of this machine; `url(how)` is an address, `asked` the downloads so far."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.content, http.asked = os.urandom(300_000), []
        http.url = lambda how: f"http://127.0.0.1:{http.server_port}/{how}/data.bin"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


@pytest.fixture
def closed():
    """An address on which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return f"http://127.0.0.1:{port}/ok/data.bin"


def remote(data, *urls, name="data.bin", algorithm="sha256"):
    """The row for a file with this content."""
    return RemoteFile(name, len(data), f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}", urls)


def one_file(file, reader=lambda info, files: files, name="toy"):
    """A data set of one file."""
    return DatasetInfo(name, "Toy set", "bytes", "1", "nobody", "none", reader, {"published": (file,)})


def files_in(folder):
    """Names of the files and folders below a folder, without locks."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix != ".lock") if folder.exists() else []


def test_download(server, tmp_path):
    file = remote(server.content, server.url("ok"))
    target = download(file, tmp_path / "new" / "data.bin")
    assert target.read_bytes() == server.content
    assert files_in(tmp_path / "new") == ["data.bin"]


def test_download_checked_by_md5(server, tmp_path):
    file = remote(server.content, server.url("ok"), algorithm="md5")
    assert download(file, tmp_path / "data.bin").read_bytes() == server.content


@pytest.mark.parametrize("how, words", [
    ("corrupt", "wrong checksum: expected sha256:"), ("cut", "broke off after"), ("missing", "HTTP status 404")])
def test_download_from_a_server_that_fails(server, tmp_path, how, words):
    file = remote(server.content, server.url(how))
    with pytest.raises(DataError, match=words) as caught:
        download(file, tmp_path / "data.bin")
    assert server.url(how) in str(caught.value)
    if how == "corrupt":
        assert file.checksum in str(caught.value) and "came sha256:" in str(caught.value)
    assert files_in(tmp_path) == []


def test_download_from_a_server_that_is_not_there(closed, tmp_path):
    start = time.monotonic()
    with pytest.raises(DataError, match="no connection"):
        download(remote(b"x", closed), tmp_path / "data.bin")
    assert time.monotonic() - start < 12 and files_in(tmp_path) == []


def test_download_from_a_server_that_accepts_and_is_silent(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(DataError, match="no connection"):
            download(remote(b"x", f"http://127.0.0.1:{silent.getsockname()[1]}/data.bin"), tmp_path / "data.bin")
    assert time.monotonic() - start < 12 and files_in(tmp_path) == []


@pytest.mark.parametrize("first", ["closed", "corrupt", "cut", "missing"])
def test_second_address_takes_over(server, closed, tmp_path, first):
    url = closed if first == "closed" else server.url(first)
    file = remote(server.content, url, server.url("ok"))
    assert download(file, tmp_path / "data.bin").read_bytes() == server.content


def test_all_addresses_are_listed(server, closed, tmp_path):
    file = remote(server.content, closed, server.url("corrupt"), server.url("cut"), server.url("missing"))
    with pytest.raises(DataError) as caught:
        fetch(one_file(file))
    text = str(caught.value)
    assert text.startswith("Toy set cannot be had (not there, no connection, wrong checksum, broke off after")
    assert all(url in text for url in file.urls) and "not there" in text and files_in(tmp_path / "cache" / "toy") == []


def test_interrupted_download_is_not_taken_and_is_done_again(server, tmp_path):
    target = tmp_path / "cache" / "toy" / "data.bin"
    target.parent.mkdir(parents=True)
    target.with_name("data.bin.part").write_bytes(server.content[:1000])         # what a killed run leaves
    assert fetch(one_file(remote(server.content, server.url("ok")))) == {"data.bin": target}
    assert target.read_bytes() == server.content and not target.with_name("data.bin.part").exists()


# --- cache and mirrors -----------------------------------------------------------------------------------------------

def test_cache_is_used_without_the_network(server):
    info = one_file(remote(server.content, server.url("ok")))
    assert fetch(info) == fetch(info) and len(server.asked) == 1


def test_wrong_file_in_the_cache_stays(server, tmp_path):
    mine = tmp_path / "cache" / "toy" / "data.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    file = remote(server.content, server.url("ok"))
    with pytest.raises(DataError, match="in the way of a download; move it") as caught:
        fetch(one_file(file))
    assert mine.read_bytes() == b"mine" and server.asked == []
    assert file.checksum in str(caught.value) and hashlib.sha256(b"mine").hexdigest() in str(caught.value)
    assert str(mine) in str(caught.value)
    with pytest.raises(DataError, match="in the way"):
        download_new(file, mine)


@pytest.mark.parametrize("sub", ["toy", ""])
def test_mirror_is_read_where_it_is(server, tmp_path, monkeypatch, sub):
    there = tmp_path / "mirror" / sub / "data.bin"
    there.parent.mkdir(parents=True)
    there.write_bytes(server.content)
    monkeypatch.setenv("EXP_MIRROR", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "mirror")]))
    assert fetch(one_file(remote(server.content, server.url("ok")))) == {"data.bin": there}
    assert server.asked == [] and "toy" not in files_in(tmp_path / "cache")


def test_wrong_file_in_a_mirror_stays_and_the_search_goes_on(server, tmp_path, monkeypatch):
    mirrors = [tmp_path / "a", tmp_path / "b"]
    for folder, data in zip(mirrors, (b"wrong", server.content)):
        folder.mkdir()
        (folder / "data.bin").write_bytes(data)
    monkeypatch.setenv("EXP_MIRROR", os.pathsep.join(map(str, mirrors)))
    file = remote(server.content, server.url("ok"))
    path, seen = find_file(file, "toy")
    assert path == mirrors[1] / "data.bin" and any("wrong checksum" in line for line in seen)
    monkeypatch.setenv("EXP_MIRROR", str(mirrors[0]))
    assert fetch(one_file(file))["data.bin"].is_relative_to(tmp_path / "cache")      # downloaded: the mirror had none
    assert (mirrors[0] / "data.bin").read_bytes() == b"wrong"


def test_a_changed_file_is_noticed_though_its_checksum_was_noted(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"right")
    old = time.time() - 100
    os.utime(path, (old, old))
    time.sleep(2.1)                                      # now it is settled, and the note is written
    right = file_checksum(path)
    assert len(list((cache_folder() / "checksums").iterdir())) == 1 and file_checksum(path) == right
    path.write_bytes(b"wrong")
    os.utime(path, (old, old))                           # same path, size and modification time
    assert file_checksum(path) == "sha256:" + hashlib.sha256(b"wrong").hexdigest()


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    monkeypatch.setenv("EXP_CACHE", "/proc/none" if Path("/proc").exists() else "/dev/null/none")
    with pytest.raises(DataError, match="cannot write.*set EXP_CACHE"):
        fetch(one_file(remote(server.content, server.url("ok"))))
    monkeypatch.setenv("EXP_MIRROR", str(tmp_path))      # but a mirror needs no cache
    (tmp_path / "data.bin").write_bytes(server.content)
    assert fetch(one_file(remote(server.content, server.url("ok")))) == {"data.bin": tmp_path / "data.bin"}


def test_variants_are_all_or_nothing(server, closed, tmp_path, monkeypatch):
    """Half of a repacked variant does not keep the published one from being fetched; the whole of it does."""
    repacked = remote(b"one", name="1.csv"), remote(b"two", name="2.csv")

    def info(url):
        return DatasetInfo("toy", "Toy set", "", "", "", "", lambda info, files: sorted(files),
                           {"published": (remote(server.content, url),), "in two parts": repacked})

    monkeypatch.setenv("EXP_MIRROR", str(tmp_path))
    (tmp_path / "1.csv").write_bytes(b"one")
    with pytest.raises(DataError, match="2.csv: not there"):
        load_data("toy", {"toy": info(closed)})
    (tmp_path / "2.csv").write_bytes(b"two")
    assert load_data("toy", {"toy": info(closed)}) == ["1.csv", "2.csv"]
    (tmp_path / "2.csv").write_bytes(b"2")
    assert load_data("toy", {"toy": info(server.url("ok"))}) == ["data.bin"]


# --- archives --------------------------------------------------------------------------------------------------------

def make_tar(path, *members, mode="w:gz"):
    """A tar file of (name, type, link, data) members."""
    with tarfile.open(path, mode) as t:
        for name, kind, link, data in members:
            m = tarfile.TarInfo(name)
            m.type, m.linkname, m.size, m.mode = kind, link, len(data), 0o755 if kind == tarfile.DIRTYPE else 0o644
            t.addfile(m, io.BytesIO(data))
    return path


FILE, FOLDER, SYMLINK, HARDLINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize("member, words", [
    (("/etc/escaped", FILE, "", b"x"), "absolute path"),
    (("../escaped", FILE, "", b"x"), "climbs out"),
    (("a/../../escaped", FILE, "", b"x"), "climbs out"),
    (("a\\..\\..\\escaped", FILE, "", b"x"), "climbs out"),
    (("C:\\escaped", FILE, "", b"x"), "absolute path"),
    (("link", SYMLINK, "/etc/passwd", b""), "link that leaves the folder"),
    (("a/link", SYMLINK, "../../escaped", b""), "link that leaves the folder"),
    (("link", HARDLINK, "../escaped", b""), "link that leaves the folder"),
    (("link", HARDLINK, "/etc/passwd", b""), "link that leaves the folder"),
    (("tty", tarfile.CHRTYPE, "", b""), "is a device"),
    (("disk", tarfile.BLKTYPE, "", b""), "is a device"),
    (("pipe", tarfile.FIFOTYPE, "", b""), "is a device"),
])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_hostile_tar(tmp_path, member, words, mode):
    archive = make_tar(tmp_path / "bad.tar", ("good.txt", FILE, "", b"fine"), member, mode=mode)
    before = files_in(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        extract(archive, tmp_path / "out" / "set")
    assert repr(member[0]) in str(caught.value) and "bad.tar" in str(caught.value)
    assert files_in(tmp_path) == before                  # nothing was written, anywhere near


def test_chain_of_links_does_not_get_out(tmp_path):
    """Each link alone looks harmless; followed one after the other they leave the folder."""
    archive = make_tar(tmp_path / "chain.tgz", ("a", FOLDER, "", b""), ("a/b", FOLDER, "", b""),
                       ("a/b/up", SYMLINK, "../..", b""), ("out", SYMLINK, "a/b/up/../escaped", b""),
                       ("out/file", FILE, "", b"x"))
    with pytest.raises(DataError, match="chain.tgz cannot be unpacked"):
        extract(archive, tmp_path / "set" / "set")
    assert files_in(tmp_path) == ["chain.tgz", "set"] and not (tmp_path / "escaped").exists()


def test_links_that_stay_inside_are_fine(tmp_path):
    archive = make_tar(tmp_path / "good.tgz", ("a/b.txt", FILE, "", b"fine"), ("c/d.txt", SYMLINK, "../a/b.txt", b""),
                       ("e.txt", HARDLINK, "a/b.txt", b""))
    folder = extract(archive, tmp_path / "set")
    assert (folder / "c" / "d.txt").read_text() == (folder / "e.txt").read_text() == "fine"


@pytest.mark.parametrize("name, mode, words", [
    ("/etc/escaped", 0, "absolute path"), ("../escaped", 0, "climbs out"), ("a/../../escaped", 0, "climbs out"),
    ("..\\escaped", 0, "climbs out"), ("C:/escaped", 0, "absolute path"),
    ("link", stat.S_IFLNK | 0o777, "link or device"), ("tty", stat.S_IFCHR | 0o600, "link or device")])
def test_hostile_zip(tmp_path, name, mode, words):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as z:
        z.writestr("good.txt", "fine")
        m = zipfile.ZipInfo(name)
        m.filename, m.create_system, m.external_attr = name, 3, mode << 16
        z.writestr(m, "/etc/passwd")
    before = files_in(tmp_path)
    with pytest.raises(DataError, match=words):
        extract(tmp_path / "bad.zip", tmp_path / "out" / "set")
    assert files_in(tmp_path) == before


def test_good_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as z:
        z.mkdir("a")
        z.writestr("a/b.txt", "fine")
    assert (extract(tmp_path / "good.zip", tmp_path / "set") / "a" / "b.txt").read_text() == "fine"
    assert list_members(tmp_path / "good.zip") == [("a/", 0, ""), ("a/b.txt", 4, "")]


@pytest.mark.parametrize("name, data", [
    ("cut.tgz", lambda tar: tar[:40]), ("cut.tgz", lambda tar: tar[: len(tar) // 2]), ("page.tgz", lambda _: b"<html></html>"),
    ("page.zip", lambda _: b"<html></html>"), ("empty.zip", lambda _: b""), ("empty.tgz", lambda _: b"")])
def test_damaged_archive(tmp_path, name, data):
    whole = make_tar(tmp_path / "whole.tgz", ("a", FILE, "", os.urandom(100_000))).read_bytes()
    (tmp_path / name).write_bytes(data(whole))
    with pytest.raises(DataError, match=f"{name} cannot be unpacked"):
        extract(tmp_path / name, tmp_path / "out" / "set")
    assert files_in(tmp_path / "out") == []


def test_archive_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="gone.tgz cannot be unpacked"):
        extract(tmp_path / "gone.tgz", tmp_path / "set")


def test_bad_words_of_why_unsafe():
    assert "is a socket" in why_unsafe("a", "socket") and why_unsafe("a..b/c", "file") == ""


# --- killed runs, full disks, two at once ----------------------------------------------------------------------------

def start(code, *args, limit=None):
    """A Python process with the project on its path."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    if limit:
        code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n" + code
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


EXTRACT = "import sys, pathlib; from exp.downloads import *; extract(*map(pathlib.Path, sys.argv[1:]))"
DOWNLOAD = """
import pathlib, sys
from exp.downloads import *
name, size, checksum, url, target = sys.argv[1:]
download(RemoteFile(name, int(size), checksum, (url,)), pathlib.Path(target))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_extraction_is_done_again(tmp_path):
    n = 5_000
    archive = make_tar(tmp_path / "many.tar", *((f"d/{i}.txt", FILE, "", b"x") for i in range(n)), mode="w")
    target, part = tmp_path / "out" / "set", tmp_path / "out" / "set.part"
    process = start(EXTRACT, archive, target)
    deadline = time.monotonic() + 60
    while not (part / "d" / "50.txt").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not target.exists()      # killed in the middle
    assert 50 < len(os.listdir(part / "d")) < n
    assert len(os.listdir(extract(archive, target) / "d")) == n and not part.exists()


def full_disk_fails(process, *words):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "DataError" in err, err
    assert all(word in err for word in words), err


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_full_disk_during_a_download(server, tmp_path):
    file, target = remote(server.content, server.url("ok")), tmp_path / "new" / "data.bin"
    full_disk_fails(start(DOWNLOAD, file.name, file.size, file.checksum, file.urls[0], target, limit=100_000),
                    str(target.parent), "no room", "300,000 bytes")
    assert files_in(target.parent) == []
    assert download(file, target).read_bytes() == server.content        # there is room again


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_full_disk_during_an_extraction(tmp_path, kind):
    archive, data = tmp_path / f"big.{kind}", bytes(300_000)
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("small", b"x")
            z.writestr("big", data)
    else:
        make_tar(archive, ("small", FILE, "", b"x"), ("big", FILE, "", data))
    target = tmp_path / "out" / "set"
    full_disk_fails(start(EXTRACT, archive, target, limit=100_000), str(target.parent), "no room", "300,001 bytes")
    assert files_in(target.parent) == []
    assert (extract(archive, target) / "big").read_bytes() == data


def test_small_disk(server, tiny_disk):
    server.content = os.urandom(2_000_000)
    told = remote(server.content, server.url("ok"))
    for file in (told, RemoteFile(told.name, 0, told.checksum, told.urls)):       # size known, and not known
        with pytest.raises(DataError, match=f"no room; data.bin needs {file.size:,} bytes") as caught:
            download(file, tiny_disk / "set" / "data.bin")
        assert str(tiny_disk) in str(caught.value) and files_in(tiny_disk / "set") == []
    assert len(server.asked) == 1                                                 # known too big: not even begun


def test_two_processes_ask_at_once(server, tmp_path):
    file, target = remote(server.content, server.url("slow")), tmp_path / "data.bin"
    both = [start(DOWNLOAD, file.name, file.size, file.checksum, file.urls[0], target) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert target.read_bytes() == server.content and len(server.asked) == 1
    assert files_in(tmp_path) == ["data.bin"]


def test_many_threads_write_once(tmp_path):
    written = []

    def write(part):
        written.append(1)
        part.mkdir()
        time.sleep(0.2)
        (part / "end").touch()

    threads = [threading.Thread(target=write_whole, args=(tmp_path / "set", write)) for _ in range(4)]
    for action in ("start", "join"):
        for thread in threads:
            getattr(thread, action)()
    assert written == [1] and files_in(tmp_path) == ["set", "set/end"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_nothing(tmp_path, error):
    def write(part):
        part.mkdir()
        (part / "half").touch()
        raise error

    with pytest.raises(error):
        write_whole(tmp_path / "set", write)
    assert files_in(tmp_path) == []


# --- readers, on small sets in the published layouts -----------------------------------------------------------------

def idx(shape, values):
    return gzip.compress(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values))


def like(name, folder, **contents):
    """The row of the table, but for these files, which are put into a folder: data of another size, the same reader."""
    real = DATASETS[name]
    files = []
    for file, data in contents["files"].items():
        (folder / file).write_bytes(data)
        files.append(remote(data, name=file))
    return {name: DatasetInfo(name, real.title, real.what, "a few", real.citation, real.licence, real.reader,
                              {"published": tuple(files)})}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("EXP_MIRROR", str(folder))
    return folder


def test_reader_of_mnist(mirror):
    table = like("mnist", mirror, files={
        "train-images-idx3-ubyte.gz": idx((6, 28, 28), [i % 251 for i in range(6 * 784)]),
        "train-labels-idx1-ubyte.gz": idx((6,), range(6)),
        "t10k-images-idx3-ubyte.gz": idx((2, 28, 28), [7] * 2 * 784),
        "t10k-labels-idx1-ubyte.gz": idx((2,), [9, 8])})
    data = load_data("mnist", table)
    assert data.name == "mnist" and data.title == "MNIST" and data.classes == list("0123456789")
    assert data.x_train.shape == (5, 28, 28) and data.x_valid.shape == (1, 28, 28) and data.x_test.shape == (2, 28, 28)
    assert data.x_train.dtype == torch.uint8 and data.y_train.dtype == torch.int64
    assert data.y_train.tolist() == [0, 1, 2, 3, 4] and data.y_valid.tolist() == [5] and data.y_test.tolist() == [9, 8]
    assert data.x_train.flatten()[:252].tolist() == [*range(251), 0]


@pytest.mark.parametrize("bad", [b"", b"\0\0\x08", b"\0\0\x08\1\0\0\0", b"\0\0\x08\1\0\0\0\3ab", b"\0\0\x0d\1\0\0\0\1a",
                                 b"<html>", b"\0\0\x08\1\0\0\0\1ab", b"\0\0\x08\0"])
def test_idx_that_is_none(tmp_path, bad):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bad))
    with pytest.raises(DataError, match="x.gz is not an idx file"):
        read_idx(tmp_path / "x.gz")


def test_idx_that_is_not_packed(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match="x.gz"):
        read_idx(tmp_path / "x.gz")


def test_reader_of_imagenette(mirror, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (160, 200)).save(picture, "JPEG")
    members = [(f"imagenette2-160/{split}/{wnid}/1.JPEG", FILE, "", picture.getvalue())
               for split in ("train", "val") for wnid in ("n01440764", "n02102040")]
    archive = make_tar(tmp_path / "x.tgz", *members).read_bytes()
    table = like("imagenette", mirror, files={"imagenette2-160.tgz": archive})
    for _ in range(2):                                   # unpacked, then found unpacked
        data = load_data("imagenette", table)
        assert Image.open(data.path / "train" / "n01440764" / "1.JPEG").size == (160, 200)
        assert data.path.is_relative_to(tmp_path / "cache") and (data.path / "val" / "n02102040").is_dir()
    assert data.classes["n01440764"] == "tench" and len(data.classes) == 10


def imdb_tree():
    rows = [("train", "neg", 0, 3, "Bad.<br />Very é."), ("train", "neg", 10, 1, "Worse."), ("train", "pos", 2, 9, "Good."),
            ("train", "unsup", 1, 0, "Who knows."), ("train", "unsup", 0, 0, "Hm."), ("test", "pos", 0, 7, "Fine."),
            ("test", "neg", 0, 4, "No.")]
    return rows, [(f"aclImdb/{part}/{label}/{i}_{rating}.txt", FILE, "", text.encode()) for part, label, i, rating, text in rows]


def check_imdb(data):
    assert data.train == [("Bad.<br />Very é.", 0), ("Worse.", 0), ("Good.", 1)]
    assert data.test == [("No.", 0), ("Fine.", 1)] and data.unlabelled == ["Hm.", "Who knows."]


def test_reader_of_imdb(mirror, tmp_path):
    rows, members = imdb_tree()
    extra = [("aclImdb/README", FILE, "", b"x"), ("aclImdb/train/urls_pos.txt", FILE, "", b"x")]
    archive = make_tar(tmp_path / "x.tgz", *reversed(members), *extra).read_bytes()
    check_imdb(load_data("imdb", like("imdb", mirror, files={"aclImdb_v1.tar.gz": archive})))


def test_reader_of_imdb_repacked(mirror):
    rows, _ = imdb_tree()
    labelled = "split,label,rating,id,text\n" + "".join(
        f'{part},{int(label == "pos")},{rating},{i},"{text}"\n' for part, label, i, rating, text in rows if label != "unsup")
    unlabelled = "id,text\n" + "".join(f'{i},"{text}"\n' for _, label, i, _, text in rows if label == "unsup")
    check_imdb(load_data("imdb", like("imdb", mirror, files={
        "imdb.csv.xz": lzma.compress(labelled.encode()), "imdb_unsup.csv.xz": lzma.compress(unlabelled.encode())})))


@pytest.mark.parametrize("name", ["wikitext-2", "wikitext-103"])
def test_reader_of_wikitext(mirror, name):
    parts = {part: f" \n = Title of {part} = \n \n Some é text , with <unk> . \n" for part in ("train", "valid", "test")}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as z:
        for part, text in parts.items():
            z.writestr(f"{name}/wiki.{part}.tokens", text)
    data = load_data(name, like(name, mirror, files={f"{name}-v1.zip": packed.getvalue()}))
    assert (data.train, data.valid, data.test) == tuple(parts.values())
    again = load_data(name, like(name, mirror, files={
        f"wiki.{part}.tokens.xz": lzma.compress(text.encode()) for part, text in parts.items()}))
    assert again == data


# --- the choice ------------------------------------------------------------------------------------------------------

@pytest.fixture
def table(closed):
    """One real set that cannot be had, and a stand-in."""
    made = DatasetInfo("made", "made numbers", "", "", "", "", lambda info, files: "made")
    return {"toy": one_file(remote(b"real", closed), lambda info, files: files["data.bin"].read_text()), "made": made}


def test_sample_does_not_look_for_the_real_set(table, monkeypatch, mirror):
    (mirror / "data.bin").write_bytes(b"real")
    monkeypatch.setenv("EXP_DATA", "sample")
    assert choose_data("toy", "made", table) == "made"


@pytest.mark.parametrize("choice", ["auto", "real", "", None])
def test_real_is_taken_if_it_can_be_had(table, monkeypatch, mirror, capsys, choice):
    (mirror / "data.bin").write_bytes(b"real")
    monkeypatch.setenv("EXP_DATA", choice) if choice is not None else None
    assert choose_data("toy", "made", table) == "real" and capsys.readouterr().out == ""


def test_auto_falls_back_with_one_line(table, capsys):
    start = time.monotonic()
    assert choose_data("toy", "made", table) == "made" and time.monotonic() - start < 12
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and out.startswith("Toy set cannot be had (not there, no connection); using made numbers.")


def test_auto_says_that_a_file_was_wrong(table, capsys, mirror):
    (mirror / "data.bin").write_bytes(b"wrong")
    assert choose_data("toy", "made", table) == "made"
    assert "wrong checksum" in capsys.readouterr().out and (mirror / "data.bin").read_bytes() == b"wrong"


def test_real_is_an_error_that_lists_everything(table, monkeypatch, mirror):
    monkeypatch.setenv("EXP_DATA", "real")
    with pytest.raises(DataError) as caught:
        choose_data("toy", "made", table)
    text = str(caught.value)
    assert str(mirror / "toy" / "data.bin") in text and str(mirror / "data.bin") in text
    assert str(cache_folder() / "toy" / "data.bin") in text and table["toy"].files["published"][0].urls[0] in text


def test_only_missing_data_lead_to_the_stand_in(table, mirror):
    (mirror / "data.bin").write_bytes(b"real")

    def broken(info, files):
        raise KeyError("a mistake in the reader")

    with pytest.raises(KeyError):
        choose_data("toy", "made", table | {"toy": one_file(table["toy"].files["published"][0], broken)})


@pytest.mark.parametrize("choice", ["sample", "auto", "real", None])
def test_unknown_names(choice, monkeypatch):
    monkeypatch.setenv("EXP_DATA", choice) if choice else None
    with pytest.raises(ValueError, match="mnist, imagenette, imdb, wikitext-2, wikitext-103"):
        choose_data("minst", "digits")
    with pytest.raises(ValueError, match="digits, shapes, reviews, articles"):
        choose_data("mnist", "didgits")
    with pytest.raises(ValueError, match="need one of mnist, .*got 'digits'"):
        choose_data("digits", "digits")                  # a stand-in is not real
    with pytest.raises(ValueError, match="need one of digits, .*got 'mnist'"):
        choose_data("mnist", "mnist")                    # and the real set no stand-in
    with pytest.raises(ValueError, match="mnist"):
        load_data("minst")


@pytest.mark.parametrize("choice", ["Sample", "yes", "reel"])
def test_unknown_choice(choice, monkeypatch):
    monkeypatch.setenv("EXP_DATA", choice)
    with pytest.raises(ValueError, match=f"auto, real, sample, got '{choice}'"):
        choose_data("mnist", "digits")


# --- samples and the table -------------------------------------------------------------------------------------------

def test_samples_without_a_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", functools.partial(pytest.fail, "a connection"))
    assert {name: load_data(name).name for name in ("digits", "reviews", "articles")} == {
        "digits": "digits", "reviews": "reviews", "articles": "articles"}


def test_samples_are_the_same_in_another_process():
    code = """
import hashlib
from exp.samples import *
d = make_digits(100, 10, 10)
h = hashlib.sha256(d.x_train.numpy().tobytes() + bytes(d.y_train.tolist()))
h.update(repr((make_reviews(20, 10, 10), make_articles(5, 1, 1))).encode())
photos = make_shapes(2, 1)
for p in sorted(photos.path.rglob("*.JPEG")):
    h.update(p.read_bytes())
print(h.hexdigest())
"""
    digests = set()
    for seed in ("0", "1"):
        env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "EXP_CACHE": str(cache_folder() / seed)}
        digests.add(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1


def test_shapes_are_made_once_and_whole(tmp_path):
    from exp.samples import make_shapes
    with contextlib.suppress(ZeroDivisionError):
        write_whole(tmp_path / "x", lambda part: 1 / 0)
    first = make_shapes(2, 1)
    stamp = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    assert make_shapes(2, 1) == first and stamp == {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    assert [p for p in files_in(tmp_path / "cache" / "shapes") if p.endswith(".part")] == []


def test_table():
    rows = dataset_table()
    assert [row["name"] for row in rows] == list(DATASETS) and len({tuple(row) for row in rows}) == 1
    for info in DATASETS.values():
        for i, files in enumerate(info.files.values()):
            for file in files:
                algorithm, _, digits = file.checksum.partition(":")
                assert len(digits) == {"sha256": 64, "md5": 32}[algorithm] and int(digits, 16) and file.size > 0
                assert bool(file.urls) == (i == 0) and all(url.endswith("/" + file.name) for url in file.urls)


def test_module_needs_no_network_and_makes_no_folder(tmp_path):
    code = "import socket; socket.socket.connect = None; import exp.datasets, sys; assert 'requests' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert not (tmp_path / "cache").exists()


# --- the real sets, where they are -----------------------------------------------------------------------------------

def real(name, monkeypatch, tmp_path_factory):
    if not MIRROR:
        pytest.skip("EXP_MIRROR is not set")
    monkeypatch.setenv("EXP_MIRROR", MIRROR)
    monkeypatch.setattr("exp.downloads._answers", lambda url: False)          # no downloads in a test
    try:
        files = fetch(DATASETS[name])
    except DataError:
        pytest.skip(f"{name} is in none of the folders of EXP_MIRROR")
    sizes = {file.name: {f.size for v in DATASETS[name].files.values() for f in v if f.name == file.name}
             for v in DATASETS[name].files.values() for file in v}
    assert all(path.stat().st_size in sizes[file] for file, path in files.items())
    return load_data(name)


def test_real_mnist(monkeypatch, tmp_path_factory):
    data = real("mnist", monkeypatch, tmp_path_factory)
    assert data.x_train.shape == (50_000, 28, 28) and data.x_valid.shape == data.x_test.shape == (10_000, 28, 28)
    labels = torch.cat([data.y_train, data.y_valid])
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert abs(torch.cat([data.x_train, data.x_valid]).double().mean() / 255 - 0.1307) < 5e-5
    assert labels[:5].tolist() == [5, 0, 4, 1, 9] and data.y_test[:5].tolist() == [7, 2, 1, 0, 4]


def test_real_imagenette(monkeypatch, tmp_path_factory):
    data = real("imagenette", monkeypatch, tmp_path_factory)
    assert len(list(data.path.glob("train/*/*.JPEG"))) == 9469 and len(list(data.path.glob("val/*/*.JPEG"))) == 3925
    assert sorted(p.name for p in (data.path / "train").iterdir()) == sorted(data.classes)
    assert len(list((data.path / "train" / "n02979186").iterdir())) == 993


def test_real_imdb(monkeypatch, tmp_path_factory):
    data = real("imdb", monkeypatch, tmp_path_factory)
    assert [label for _, label in data.train] == [label for _, label in data.test] == [0] * 12_500 + [1] * 12_500
    assert len(data.unlabelled) == 50_000 and len({text for text, _ in data.train + data.test}) == 49_582


def test_real_wikitext_2(monkeypatch, tmp_path_factory):
    data = real("wikitext-2", monkeypatch, tmp_path_factory)
    counts = [len(text.split()) + text.count("\n") for text in (data.train, data.valid, data.test)]
    assert counts == [2_088_628, 217_646, 245_569]
    assert len({*data.train.split(), "<eos>"}) == 33_278
    assert ds.DATASETS["wikitext-2"].title == data.title
