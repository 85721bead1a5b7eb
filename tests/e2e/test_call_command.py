"""`callmeback call` through a running installation: watched to its end, hung up by Ctrl-C, refused in a sentence."""

import json
import signal
import subprocess
import sys

import pytest
from tests.cli.test_up import wait_until
from tests.e2e.house import LINE, House, Person

pytestmark = pytest.mark.slow

TIMEOUT_S = 60.0


def start(house: House, *arguments: str | bytes, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "callmeback", "call", *arguments],
        env={**house.installation.environ(), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(house: House, *arguments: str | bytes, **environ: str) -> tuple[int, str, str]:
    """Exit code, output, complaints."""
    process = start(house, *arguments, **environ)
    output, complaints = process.communicate(timeout=TIMEOUT_S)

    return process.returncode, output, complaints


def test_a_call_is_shown_to_its_end(house: House, ann: Person) -> None:
    house.script(ann, says=[LINE])

    code, output, complaints = run(house, "--as", ann.email, "--minutes", "1", "--about", "my day")
    newest = ann.client.get("/api/calls").json()["items"][0]

    assert (code, complaints) == (0, "")
    assert "Brad" in output
    assert "ended (hung up)" in output or "ended (goodbye)" in output
    assert LINE in " ".join(output.split())
    assert f"{newest['cost_cents']} of at most" in " ".join(output.split())
    assert " 1 credit " in " ".join(output.split())
    assert output.endswith("\n")
    assert (newest["context"], newest["granted_seconds"]) == ("my day", 60)


def test_json_is_one_document_and_only_that(house: House, ann: Person) -> None:
    house.script(ann, says=[LINE])

    code, output, _ = run(house, "sarah", "--as", ann.id, "--phone", ann.phone, "--json")
    call = json.loads(output)
    newest = ann.client.get("/api/calls").json()["items"][0]

    assert code == 0
    assert (call["id"], call["status"], call["persona_name"]) == (newest["id"], "completed", "Sarah")
    assert [line["text"] for line in call["transcript"] if line["speaker"] == "user"] == [LINE]
    assert call["cost_cents"] == newest["cost_cents"]
    assert set(call["costs"]) == {"twilio", "deepgram", "cerebras", "elevenlabs"}
    assert call["credits_used"] == 1


def test_a_call_that_nobody_answers_is_1(house: House, ann: Person) -> None:
    house.script(ann, answers="busy")

    code, output, _ = run(house, "--as", ann.email, "--json")

    assert code == 1
    assert json.loads(output)["status"] == "busy"


def test_ctrl_c_hangs_up_and_shows_the_end(house: House, ann: Person) -> None:
    house.script(ann, says=[LINE] * 20)
    before = len(house.carried(ann))

    process = start(house, "--as", ann.email, "--json")
    wait_until(lambda: len(house.carried(ann)) > before, "it rings")
    call_id = ann.client.get("/api/calls").json()["items"][0]["id"]
    ann.talking(call_id)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    call = json.loads(output)

    assert process.returncode == 0
    assert (call["id"], call["status"], call["end_reason"]) == (call_id, "completed", "hang_up_requested")
    house.prove(ann)


def test_the_session_of_a_command_ends_with_it(house: House, ann: Person) -> None:
    house.script(ann, answers="busy")

    def ended() -> int:
        with house.books() as books:
            row = books.execute("SELECT count(*) AS n FROM token_blacklist WHERE user_id = %s", (ann.id,)).fetchone()
        assert row is not None
        return int(row["n"])

    before = ended()
    run(house, "--as", ann.email)

    assert ended() == before + 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "Missing option '--as'"),
        (("--as", "nobody@example.org"), 1, "There is no account with this e-mail or id."),
        (("nobody", "--as", "ANN"), 1, "There is no such persona."),
        ((b"\xff", "--as", "ANN"), 1, "A text contains half a character."),
        (("--as", "ANN", "--phone", "123"), 1, "Write the number with its country code"),
        (("--as", "ANN", "--phone", "+12025550188"), 1, "Error: "),
        (("--as", "ANN", "--minutes", "0"), 2, "is not in the range"),
        (("--as", "ANN", "--about", "x" * 2_001), 1, "context"),
    ],
)
def test_wrong_input_is_a_sentence(
    house: House, ann: Person, arguments: tuple[str | bytes, ...], code: int, sentence: str
) -> None:
    given = [ann.email if argument == "ANN" else argument for argument in arguments]

    answer, output, complaints = run(house, *given)

    assert (answer, output) == (code, "")
    assert sentence in complaints
    assert "Traceback" not in complaints


def test_a_second_call_is_refused_in_a_sentence(house: House, ann: Person) -> None:
    house.script(ann, answers="no_answer", ring_seconds=30)
    call = ann.place()

    code, _, complaints = run(house, "--as", ann.email)
    ann.client.post(f"/api/calls/{call['id']}/hangup")
    ann.ended(call["id"])

    assert code == 1
    assert complaints.startswith("Error: ")
    assert complaints.count("\n") == 1


def test_without_a_web_process_it_says_so(house: House, ann: Person) -> None:
    """The database answers, and nothing listens where the web process should be."""
    dsn = house.installation.running()["owner_dsn"]
    secret = (house.installation.home / "secrets.json").read_text()

    code, output, complaints = run(
        house,
        "--as",
        ann.email,
        DATABASE_URL=dsn,
        CALLMEBACK_HOME=str(house.installation.home.with_name("other")),
        CALLMEBACK_JWT_SECRET=json.loads(secret)["jwt_secret"],
        CALLMEBACK_PORT="9",
    )

    assert (code, output) == (1, "")
    assert complaints == "Error: The web process doesn't answer: is `callmeback up` running?\n"
