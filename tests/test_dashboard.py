"""The dashboard's logic without a browser: it computes nothing, trusts nothing, and asks what the command line asks."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from costsim.cli import dashboard as verb
from costsim.cli import main as cli
from costsim.cli.output import LISTENER, Listener
from costsim.errors import BadInput
from costsim.report.document import Document
from costsim.report.words import label
from dashboards import answers, draw, glossary, origin, pages, presets, run, show, sources, state, uploads, words, zh
from dashboards.controls import Control, options_of
from dashboards.page import Page
from dashboards.patterns import GRID, QUANTITY, RATE

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "dashboards").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
FOLDS = {"sum", "max", "min", "abs", "round", "pow", "divmod", "eval", "exec", "compile"}
MATHS = {"math", "numpy", "scipy", "statistics", "fractions", "decimal", "operator", "pickle", "marshal", "subprocess"}
#: parts of the library that compute; views ask verbs instead
ENGINES = ("costsim.physics", "costsim.timing", "costsim.schedule", "costsim.economics", "costsim.calibration",
           "costsim.explore", "costsim.evidence", "costsim.trace", "costsim.placement")  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_dashboard_computes_nothing(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            assert not isinstance(node.op, ARITHMETIC), f"{where}: arithmetic; let a verb or report/ compute it"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FOLDS, f"{where}: {node.func.id}() computes"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in MATHS, f"{where}: imports {name}"
                assert not name.startswith(ENGINES), f"{where}: imports the engine {name}; ask its verb"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_stay_readable_and_unsafe_html_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    assert "unsafe_allow" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_records_stay_small() -> None:
    """Few fields a record: more of them hide a noun."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                held = [part for part in node.body if isinstance(part, ast.AnnAssign)]
                assert len(held) < 15, f"{path.name}: {node.name} has {len(held)} fields"


def every_page() -> list[Page]:
    return list(pages.all_pages().values())


def modes_of(page: Page) -> list[str]:
    """The words of the control that decides which others are shown."""
    question = page.question
    return [str(word) for one in question.controls if one.name == question.mode for word in one.choices()] or [""]


def test_pages_whose_verb_is_there_are_there() -> None:
    ids = set(pages.all_pages())
    assert {"overview", "inference", "search", "simulation", "training", "hardware", "validation", "profiling"} <= ids
    for name, page_id in (
        ("place", "placement"),
        ("fleet", "fleet"),
        ("claims", "claims"),
        ("posttrain", "posttraining"),
    ):
        assert (page_id in ids) == (name in cli.available())


@pytest.mark.parametrize("page", every_page(), ids=lambda page: page.id)
def test_every_control_is_an_option_of_the_verb(page: Page) -> None:
    """What the page sends parses, in every mode, with its defaults."""
    from costsim.cli.parser import verb_parser

    shorts = [control.short for control in page.question.controls]
    assert len(shorts) == len(set(shorts)), "two controls share a key in links"
    assert not set(shorts) & {"v", "lang", "view"}
    if page.screen.show is not None and page.question.subject is None:
        return  # asks several verbs, or one about files handed over
    module = cli.load_verb(page.question.verb)
    parser = verb_parser(module.NAME, module.HELP, module.EXAMPLE)
    module.configure(parser)
    modes = modes_of(page)
    for mode in modes:
        parser.parse_intermixed_args(list(page.question.argv(page.question.defaults(mode))[1:]))


@pytest.mark.parametrize("page", every_page(), ids=lambda page: page.id)
def test_links_and_files_give_back_every_value(page: Page) -> None:
    import tomllib

    modes = modes_of(page)
    for mode in modes:
        values = page.question.defaults(mode)
        back, notices = state.checked(page, state.link_keys(page, values, whole=True), by_short=True)
        assert (back, notices) == (values, [])
        table = tomllib.loads(state.to_toml(page, values))
        again, notices = state.checked(page, table["values"], by_short=False)
        assert (again, notices) == (values, [])


def test_no_two_options_look_alike() -> None:
    """Browsers send back what an option shows: two that show the same are one, and the wrong one."""
    for page in every_page():
        for control in page.question.controls:
            if control.kind in ("word", "words"):
                empty = [""] if control.kind == "word" else []
                shown = [draw._shown(word, control.empty) for word in (*empty, *control.choices())]
                assert len(shown) == len(set(shown)), (page.id, control.name)


HOSTILE = (
    "banana", "-1", "0", "1e999", "nan", "inf", "--json", "--out=/etc/x", "../../etc/passwd", "/etc/passwd.toml",
    "1;rm -rf", "<script>alert(1)</script>", "' OR 1=1", "9" * 500, "\x00", "2" * 39, "[1]", "own-0123456789abcdef",
    "${x}", "{{7*7}}",
)  # fmt: skip


@pytest.mark.parametrize("page", every_page(), ids=lambda page: page.id)
def test_forged_links_are_mended_and_said(page: Page) -> None:
    """A value is the default or one that the control allows; nothing reaches the verb that a control could not hold."""
    defaults = page.question.defaults(page.question.default_mode)
    for control in page.question.controls:
        for text in HOSTILE:
            values, notices = state.checked(page, {control.short: text}, by_short=True)
            if control.name not in defaults or control.name == page.question.mode:
                continue
            if values[control.name] == defaults[control.name]:
                assert notices or control.checked(text) == defaults[control.name], (control.name, text)
            else:
                assert control.kind in ("whole", "real", "text", "flag", "words"), (control.name, text)
                assert "<" not in str(values[control.name]) or control.name == "title"
            for argument in page.question.argv(values)[1:]:
                assert not argument.startswith("--out=/")
                assert "passwd" not in argument
    _, notices = state.checked(page, {"<b>x": "1"}, by_short=True)
    assert len(notices) == 1
    assert "\\<b\\>x" in notices[0]


def test_text_controls_hold_no_paths_and_no_options() -> None:
    import re

    for pattern in (GRID, QUANTITY, RATE):
        for text in ("/etc/passwd", "--json", "../x.toml", "a b c", "x.toml", "~", "1 GB\n--out=x"):
            assert re.search(pattern, text) is None or "\n" in text
        control = Control("x", "x", "text", "x", None, pattern=pattern)
        with pytest.raises(ValueError, match=r"pattern"):
            control.checked("8\n--out=x")


def test_options_cannot_be_smuggled_in_a_value() -> None:
    control = Control("title", "t", "text", "Title", None, pattern=r".*")
    assert options_of([control], {"title": "--json"}, "", str) == ["--title=--json"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"page = 'nowhere'", "no page"), (b"page = 5", "no page"), (b"\xff\xfe", "UTF-8"),
        (b"a = [", "TOML"), (b"x\0y", "NUL"), (b"page = 'inference'\nversion = 9", "version"),
        (b"#" * 2_000_000, "larger"),
        (b"page = 'inference'\nvalues = 3", "values"), (b"[model]\nid = 3", "model"), (b"[plan]\nshape = 3", "plan"),
        (b"a = " + b"[" * 5000, "TOML"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused_in_one_line(data: bytes, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        pages.take_file(data)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uploads_are_bounded_and_named_by_their_digest() -> None:
    path = uploads.keep(b"a = 1\n", ".toml")
    assert path.parent == uploads.folder()
    assert path == uploads.keep(b"a = 1\n", ".toml")
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    for data, most in ((b"", 10), (b"x" * 11, 10)):
        with pytest.raises(BadInput):
            uploads.keep(data, ".toml", most)
    for number in range(uploads.MOST_FILES + 9):
        uploads.keep(f"a = {number}\n".encode(), ".toml")
    assert len(list(uploads.folder().iterdir())) == uploads.MOST_FILES


def test_other_files_drive_no_chip_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files others bring, and however large: a session's chip stays, and all together stay bounded."""
    monkeypatch.setattr(uploads.st, "session_state", {})
    text = (ROOT / "hwprofiles/accelerators/h20-96g.toml").read_bytes().replace(b'"h20-96g"', b'"mine"', 1)
    value = uploads.add_chip(text)
    for number in range(uploads.MOST_FILES + 9):
        uploads.keep(f"b = {number}\n".encode(), ".toml")
    assert uploads.own_chips() == {value: "mine"}
    assert uploads.readable(f"costsim infer --accelerator={uploads.spelled(value)}") == (
        "costsim infer --accelerator=mine.toml"
    )
    monkeypatch.setattr(uploads, "MOST_BYTES", 25_000)
    for number in range(9):
        uploads.keep(bytes([number]) * 10_000, ".csv")
    files = list(uploads.folder().iterdir())
    assert sum(file.stat().st_size for file in files) <= 25_000
    assert uploads.own_chips() == {value: "mine"}


def test_files_are_called_what_their_owner_calls_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.st, "session_state", {})
    path = uploads.keep(b"x", ".csv", name="../../etc/<b>rank 3.csv")
    assert uploads.readable(f"points {path}: no column") == "points <b>rank 3.csv: no column"
    assert str(uploads.folder()) not in uploads.readable(str(uploads.keep(b"y", ".csv")))


def test_own_chips_that_are_none_are_refused() -> None:
    for data in (b"id = 'x'", b"\xff", b"x" * 2_000_000):
        with pytest.raises(BadInput):
            uploads.add_chip(data)


@pytest.mark.parametrize("page", every_page(), ids=lambda page: page.id)
def test_every_page_has_ways_to_look_at_its_answer(page: Page) -> None:
    """What is common to pages takes what each declares; nothing stands in for a missing part."""
    screen = page.screen
    assert isinstance(screen.views, dict)
    assert isinstance(screen.headline, tuple)
    assert isinstance(screen.skip, tuple)
    if screen.show is None:
        assert "Answer" in run.views_of(page, Document("", [], {}))


def test_answers_are_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    page = pages.all_pages()["inference"]
    values = page.question.defaults("decode") | {"batch_per_gpu": 64.0, "accelerator": "h20-96g", "gpus": 32}
    argv = page.question.argv(values)
    shown = answers.ask(argv)
    assert cli.main([*argv, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert json.loads(json.dumps(shown.payload["metrics"])) == said["metrics"]
    assert answers.ask(argv) is shown, "asked twice, computed twice"


def test_refusals_and_defects_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="does not fit"):
        answers.ask(("infer", "--gpus=8", "--batch-per-gpu=5000"))
    with pytest.raises(BadInput, match="unknown option"):
        answers.ask(("infer", "--nonsense=1"))

    def broken(*_: Any) -> int:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("costsim.cli.infer.run", broken)
    with pytest.raises(answers.Defect) as caught:
        answers.ask(("infer", "--gpus=77"))
    assert str(caught.value) == "RuntimeError: two lines"


def test_the_listener_of_one_thread_hears_nothing_of_another() -> None:
    taken: list[Document] = []
    token = LISTENER.set(Listener(taken.append, lambda text, share: None))
    try:
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(LISTENER.get()))
        thread.start()
        thread.join()
    finally:
        LISTENER.reset(token)
    assert seen == [None]


def test_a_long_question_tells_how_far_it_is_and_stops_when_told() -> None:
    heard = []
    job = answers.Job(("search", "--batch-per-gpu=1:4000", "--gpus=8:256:8"))
    tell = job._told
    job._told = lambda text, share: (heard.append(share), tell(text, share))  # type: ignore[assignment]
    job.start()
    assert job.future is not None
    while not any(heard) and not job.done:
        time.sleep(0.01)
    job.cancel()
    with pytest.raises(answers.Cancelled):
        job.future.result(timeout=30)
    assert isinstance(job.error(), answers.Cancelled)
    assert any(share is not None and 0 < share <= 1 for share in heard)


def test_a_stopped_question_without_progress_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that never says how far it is ends too, and the next question is answered by the same thread."""
    started, done = threading.Event(), threading.Event()

    def endless(*_: Any) -> int:
        started.set()
        while not done.is_set():
            time.sleep(0.005)
        return 0

    monkeypatch.setattr(answers, "GRACE_S", 0.05)
    monkeypatch.setattr("costsim.cli.fleet.run", endless)
    jobs = [answers.Job(("fleet", f"--seed={number}")).start() for number in range(answers.AT_A_TIME)]
    try:
        assert started.wait(10)
        for job in jobs:
            job.cancel()
            assert job.future is not None
            with pytest.raises((answers.Cancelled, CancelledError)):
                job.future.result(timeout=20)
    finally:
        done.set()
    after = answers.Job(("infer", "--gpus=64")).start()
    assert after.future is not None
    assert after.future.result(timeout=60).payload["metrics"]


def test_a_question_that_nobody_watches_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "UNWATCHED_S", 0.05)
    job = answers.Job(("search", "--batch-per-gpu=1:3999", "--gpus=8:256:8")).start()
    assert job.future is not None
    with pytest.raises((answers.Cancelled, CancelledError)):
        job.future.result(timeout=30)


def test_presets_are_answered() -> None:
    found = {preset.title for preset in presets.available()}
    wanted = {preset.title for preset in presets.PRESETS if preset.page in pages.all_pages()}
    assert found == wanted, "a preset has a value that its page does not know"
    for preset in presets.available():
        page = pages.all_pages()[preset.page]
        values = page.question.defaults(page.question.mode_of(preset.values)) | preset.values
        if not page.question.long:
            assert answers.ask(page.question.argv(values)).payload["metrics"]


def test_the_presets_that_people_ask_for_are_there() -> None:
    """V3 pre-training, the serving day, H20 decode, a 910C supernode, two-card reinforcement learning, one box."""
    by_page = {}
    for preset in presets.available():
        by_page.setdefault(preset.page, []).append(preset.values)
    assert any(v["gpus"] == 2048 and v["accelerator"] == "h800-sxm" for v in by_page["training"])
    assert "fleet" in by_page
    chips = {values["accelerator"]: values for values in by_page["inference"]}
    assert {"h20-96g", "ascend-910c"} <= set(chips)
    assert chips["ascend-910c"]["cluster"] == "cloudmatrix384"
    assert any(values.get("gpus") == 8 and values.get("tp") == 8 for values in by_page["inference"])
    assert any("zero" in str(values.get("recipe")) for values in by_page["posttraining"])


def words_of_pages() -> Iterator[str]:
    for page in every_page():
        yield from (page.title, page.lead, page.group)
        for control in page.question.controls:
            yield from (control.label, *filter(None, (control.fold, control.note, control.empty)))
    for preset in presets.available():
        yield from (preset.title, preset.text)


def test_chinese_has_a_word_for_every_page_and_setting() -> None:
    missing = sorted({text for text in words_of_pages() if text not in zh.CHINESE and not text.isdigit()})
    assert not missing
    assert all(text.strip() and chinese.strip() for text, chinese in zh.CHINESE.items())


def _answered() -> Iterator[tuple[Page, Document]]:
    """Pages whose default question is answered in a moment, in every mode, with the answer."""
    for page in every_page():
        modes = modes_of(page)
        for mode in modes if page.id in QUICK else ():
            yield page, answers.ask(page.question.argv(page.question.defaults(mode)))


QUICK = ("inference", "training", "simulation", "posttraining", "run", "fp8", "fleet", "placement")


def test_chinese_has_a_word_for_every_fixed_part_of_an_answer() -> None:
    """Names of numbers, headings and columns; what a sentence or an operation is called may stay English."""
    missing = set()
    for page, document in _answered():
        names = [words._NAMES.get(name) or label(name) for name in show.metrics_of(document, page.screen.numbers)]
        names += [part.heading for part in document.sections]
        names += [column for part in document.sections for table in part.tables for column in table.columns]
        missing |= {name for name in names if any(c.isalpha() for c in name) and name not in zh.CHINESE}
    assert not missing


def test_every_number_of_an_answer_has_unit_and_grade_and_the_large_ones_are_there() -> None:
    for page, document in _answered():
        metrics = show.metrics_of(document, page.screen.numbers)
        if not metrics:
            assert page.id == "posttraining", "two ways side by side have a table of both instead"
            continue
        assert all(metric.grade[:1] in show.GRADE_COLOURS for metric in metrics.values()), page.id
        assert not page.screen.headline or set(page.screen.headline) & set(metrics), f"{page.id}: no headline"


def test_where_a_number_comes_from_is_known_for_runs_days_and_simulations() -> None:
    """`costsim explain` reads these answers back: their trees end in the number of the page."""
    asked = {"run": "final_run_usd", "fleet": "usd_per_day", "simulation": "output_tokens_per_s_per_gpu"}
    for name, metric in asked.items():
        page = pages.all_pages()[name]
        values = page.question.defaults(page.question.default_mode)
        document = answers.ask(page.question.argv(values))
        argv = origin.question(page, values, document, metric)
        assert argv is not None, name
        found = answers.ask(argv).payload
        assert found["value"] == pytest.approx(show.metrics_of(document, page.screen.numbers)[metric].value)
        assert found["tree"]["children"]


def test_help_speaks_both_languages_and_of_settings_that_exist() -> None:
    labels = {control.label for page in every_page() for control in page.question.controls}
    assert not set(glossary.SETTINGS) - labels
    assert all(len(both) == 2 and all(both) for both in (*glossary.SETTINGS.values(), *glossary.NUMBERS.values()))


def test_every_literal_of_the_app_has_a_translation() -> None:
    said = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr" and node.args:
                said |= {part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)}
    assert not {text for text in said if isinstance(text, str) and text and text not in zh.CHINESE}


def test_chips_in_links_come_back_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``packed`` writes ``unpack`` reads; too much, cut off or no chip at all is one line."""
    store: dict[str, Any] = {}
    monkeypatch.setattr(uploads.st, "session_state", store)
    text = (ROOT / "hwprofiles/accelerators/h20-96g.toml").read_bytes().replace(b'"h20-96g"', b'"mine"', 1)
    value = uploads.add_chip(text)
    link = uploads.packed([value, 3, None, ["h800-sxm", value]])
    assert link
    assert len(link) < 2000
    store.clear()
    assert uploads.packed([value]) == ""
    uploads.unpack(link)
    assert uploads.own_chips() == {value: "mine"}
    bomb = base64.urlsafe_b64encode(zlib.compress(b"#" * 10**7, 9)).decode().rstrip("=")
    for bad in ("A", "AAAA", link[:-40], bomb[:6000], "=" * 9, "é" * 9, link * 9, "x" * 9000):
        with pytest.raises(BadInput) as caught:
            uploads.unpack(bad)
        assert "\n" not in str(caught.value)


def test_a_chip_too_large_for_a_link_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.st, "session_state", {})
    noise = "".join(f"# {hashlib.sha256(str(n).encode()).hexdigest()}\n" for n in range(200))
    text = (ROOT / "hwprofiles/accelerators/h20-96g.toml").read_text(encoding="utf-8").replace('"h20-96g"', '"mine"', 1)
    value = uploads.add_chip(f"{text}{noise}".encode())
    assert uploads.packed([value]) == ""
    assert uploads.texts([value])


def test_texts_of_others_lose_their_markup() -> None:
    assert words.safe("a <b>*x*\n![i](http://e/x.png) $y$ :smile:") == (
        r"a \<b\>\*x\* \!\[i\]\(http\:\/\/e\/x\.png\) \$y\$ \:smile\:".replace(r"\/", "/")
    )


def test_sources_have_titles_and_only_web_addresses() -> None:
    title, address = sources.work("deepseek-v3-report")
    assert "Technical Report" in title
    assert address.startswith("https://")
    assert sources.work("no-such-key") == ("", "")
    assert all(address == "" or address.startswith("http") for _, address in map(sources.work, sources._works()))


@pytest.mark.parametrize(
    "argv",
    [
        ["--port", "x"],
        ["--port", "70000"],
        ["--address", "example"],
        ["--json"],
        ["--port", "9", "--address", "203.0.113.7"],
    ],
)
def test_the_verb_refuses_bad_options(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dashboard", *argv]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_who_can_reach_the_server_is_said() -> None:
    assert verb.exposed("127.0.0.1", []) == verb.exposed("::1", []) == ""
    line = verb.exposed("0.0.0.0", [])
    assert "no password" in line
    assert "--host" in line
    assert "\n" not in line
    assert "--host" not in verb.exposed("0.0.0.0", ["costs.example.org"])


def test_a_port_in_use_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert cli.main(["dashboard", "--port", str(taken.getsockname()[1])]) == 2
    assert "--port 0" in capsys.readouterr().err


def test_it_listens_on_this_machine_alone_and_phones_nobody() -> None:
    line = verb.command("127.0.0.1", 8501, [], browser=False)
    for option in ("--server.address=127.0.0.1", "--browser.gatherUsageStats=false", "--client.showErrorDetails=none",
                   "--server.allowedHosts=localhost", f"--server.maxUploadSize={verb.UPLOAD_MB}"):  # fmt: skip
        assert option in line
    assert verb.app().name == "app.py"
    assert not [option for option in verb.command("0.0.0.0", 1, [], browser=True) if "allowedHosts" in option]


def test_no_two_words_of_a_setting_read_alike() -> None:
    """The browser sends back the words that it shows: two that look the same would be one setting."""
    for page in pages.all_pages().values():
        for control in page.question.controls:
            if control.kind == "word":
                empty = [""] if any(control.at(mode) is None for mode in ("", *control.modes)) else []
                shown = [draw._shown(word, control.empty) for word in [*empty, *control.choices()]]
                assert len(shown) == len(set(shown)), f"{page.id}/{control.name}: {shown}"
