import io

from rich.console import Console

from dpm_cli.progress import RichReporter, SilentReporter


def run(reporter):
    with reporter.task("pairs", 3) as advance:
        advance()
        advance(2)
    reporter.note("a decision")
    reporter.detail("a count")


def test_a_log_gets_lines_and_no_control_codes():
    out = io.StringIO()
    run(RichReporter(Console(file=out, force_terminal=False, width=200)))
    text = out.getvalue()
    assert "pairs: 100%" in text
    assert "3/3" in text
    assert "a decision" in text
    assert "a count" not in text
    assert "\x1b" not in text


def test_a_terminal_gets_a_bar_and_details_only_on_request():
    out = io.StringIO()
    run(RichReporter(Console(file=out, force_terminal=True, width=120), verbose=True))
    assert "3/3" in out.getvalue()
    assert "a count" in out.getvalue()


def test_silence(capsys):
    run(SilentReporter())
    assert capsys.readouterr() == ("", "")
