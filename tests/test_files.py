import errno
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from keras_maskrcnn import files


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def write(path, text):
    with files.replacing(path) as new, open(new, "w") as file:
        file.write(text)


def test_a_file_is_replaced_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.replacing(path) as new:
        with open(new, "w") as file:
            file.write("new")
        assert path.read_text() == "old"
        assert os.path.dirname(new) == str(tmp_path)
        assert os.path.basename(new).startswith(files.UNFINISHED)
        assert new.endswith(".a.txt")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_file_that_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, [1, 2])
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(path, [3, object()])
    assert json.loads(path.read_text()) == [1, 2]
    assert os.listdir(tmp_path) == ["a.json"]


def test_no_other_file_is_touched(tmp_path):
    others = {name: f"of {name}" for name in ("new.a.json", "a.json.new", "unfinished-.a.json")}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    files.write_json(tmp_path / "a.json", [])
    assert {name: (tmp_path / name).read_text() for name in others} == others
    assert len(os.listdir(tmp_path)) == 4


def test_a_name_of_255_bytes_is_written(tmp_path):
    path = tmp_path / f"{'é' * 125}.json"
    files.write_json(path, 1)
    assert os.listdir(tmp_path) == [path.name]


def test_permissions_are_those_that_open_leaves(tmp_path):
    opened = tmp_path / "opened"
    opened.write_text("")
    write(tmp_path / "new", "")
    assert mode(tmp_path / "new") == mode(opened)
    os.chmod(opened, 0o640)
    with files.replacing(opened) as new:
        assert mode(new) & 0o077 == 0
    assert mode(opened) == 0o640


def test_of_a_link_the_target_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a.txt", tmp_path / "a.txt"
    link.symlink_to(target)
    for text in ("new", "newer"):  # the link has no target, then a file
        write(link, text)
        assert (link.is_symlink(), target.read_text()) == (True, text)
    assert os.listdir(tmp_path / "far") == ["a.txt"]


def test_a_device_stays_a_device():
    write(os.devnull, "text")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'[^']*/missing/a.json'"):
        files.write_json(tmp_path / "missing" / "a.json", 1)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        files.write_json(tmp_path, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_stays(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="a.json"):
        files.write_json(path, 1)
    assert path.read_text() == "old"


def test_threads_that_replace_one_file_leave_a_whole_one(tmp_path):
    path, errors, barrier = tmp_path / "a.txt", [], threading.Barrier(4)

    def work(letter):
        try:
            for _ in range(20):
                barrier.wait(timeout=60)
                write(path, letter * 10000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[letter]) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert (errors, len(text), len(set(text)), os.listdir(tmp_path)) == ([], 10000, 1, ["a.txt"])


def test_what_a_kill_leaves_is_known_by_its_name(tmp_path):
    code = (
        "import os, sys, importlib.util as u;"
        "s = u.spec_from_file_location('files', sys.argv[2]); f = u.module_from_spec(s);"
        "s.loader.exec_module(f); c = f.replacing(sys.argv[1]);"
        "open(c.__enter__(), 'w').write('half'); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "a.txt"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", code, path, files.__file__], check=False)
    left = [name for name in os.listdir(tmp_path) if name != "a.txt"]
    assert path.read_text() == "old"
    assert len(left) == 1 and left[0].startswith(files.UNFINISHED)


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    with pytest.raises(OSError) as raised, files.replacing(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []
