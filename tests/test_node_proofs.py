"""Nodes show each other that they know the secret, and nobody hears it."""

import asyncio
import base64
from hashlib import sha256

import pytest

from sfss.errors import PeerUnknown
from sfss.node_proofs import NONCE_HEADER, PROOF_HEADER, Prover, Verifier, _proof
from sfss.replication.transport import HttpTransport, PeerFailed
from tests.cluster import Cluster
from tests.http import ask, request
from tests.listening import listening
from tests.programs import SfssNode, free_port

SECRET = "a-secret-of-all-nodes"
POST = ("POST", "/_replication")


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def verifier(time):
    return Verifier(SECRET, time)


def challenged(verifier: Verifier, secret: str = SECRET) -> Prover:
    prover = Prover(secret)
    assert prover.take_challenge(verifier.challenge("").challenge)
    return prover


def test_both_sides_are_proved(verifier):
    proved = challenged(verifier).request(*POST, b"body")
    claim = verifier.check(*POST, proved.authorization)
    claim.check_body(b"body")
    headers = claim.headers_of_answer(200, b"answer")
    assert proved.is_answered_by(200, headers, b"answer")
    assert not proved.is_answered_by(200, headers, b"another")
    assert not proved.is_answered_by(201, headers, b"answer")
    assert not proved.is_answered_by(200, {}, b"answer")
    assert SECRET not in proved.authorization and SECRET not in str(headers)


def test_another_body_is_none(verifier):
    claim = verifier.check(*POST, challenged(verifier).request(*POST, b"body").authorization)
    with pytest.raises(PeerUnknown):
        claim.check_body(b"b0dy")


def test_what_was_recorded_is_of_no_use(verifier, time):
    proved = challenged(verifier).request(*POST, b"body")
    verifier.check(*POST, proved.authorization)
    with pytest.raises(PeerUnknown, match="not valid any more"):
        verifier.check(*POST, proved.authorization)
    with pytest.raises(PeerUnknown):  # another life of the same node
        Verifier(SECRET, time).check(*POST, challenged(verifier).request(*POST, b"body").authorization)
    for method, target in (("PUT", POST[1]), ("POST", "/_verify")):
        with pytest.raises(PeerUnknown):
            verifier.check(method, target, challenged(verifier).request(*POST, b"").authorization)


def test_a_nonce_has_its_time_by_the_clock_of_who_gave_it(verifier, time):
    prover = challenged(verifier)
    time.now += 599
    proved = prover.request(*POST, b"")
    claim = verifier.check(*POST, proved.authorization)
    headers = claim.headers_of_answer(200, b"")
    assert NONCE_HEADER in headers  # the next one comes in time
    assert proved.is_answered_by(200, headers, b"")
    time.now += 599
    verifier.check(*POST, prover.request(*POST, b"").authorization)
    time.now += 601
    with pytest.raises(PeerUnknown) as raised:
        verifier.check(*POST, prover.request(*POST, b"").authorization)
    assert prover.take_challenge(raised.value.challenge)
    verifier.check(*POST, prover.request(*POST, b"").authorization)
    assert len(verifier._taken) == 1  # what is over is forgotten


def test_requests_may_overtake_each_other(verifier):
    prover = challenged(verifier)
    requests = [prover.request(*POST, b"").authorization for _ in range(1500)]
    verifier.check(*POST, requests[1024])
    for number in (1023, 1, 500, 1499, 1000):
        verifier.check(*POST, requests[number])
    for number in (1024, 1023, 500, 1499, 0, 400):
        with pytest.raises(PeerUnknown):
            verifier.check(*POST, requests[number])


@pytest.mark.parametrize("header", [
    "", "Bearer " + SECRET, "SFSS-Node", 'SFSS-Node nonce="x"', "Basic " + base64.b64encode(b"a:b").decode(),
    'SFSS-Node nonce="1-0-0", counter="1", number="2", digest="3", proof="4"',
    'SFSS-Node nonce="é", counter="1", number="2", digest="3", proof="é"',
])  # fmt: skip
def test_what_proves_nothing(verifier, header):
    with pytest.raises(PeerUnknown) as raised:
        verifier.check(*POST, header)
    assert raised.value.challenge


@pytest.mark.parametrize("odd", ["é", "\udcff", ""])
def test_an_answer_with_odd_bytes_proves_nothing(verifier, odd):
    asked = Prover(SECRET).request("POST", "/_replication", b"body")
    assert not asked.is_answered_by(200, {PROOF_HEADER: odd}, b"answer")


def test_another_secret_proves_nothing(verifier):
    with pytest.raises(PeerUnknown, match="is the node secret the same"):
        verifier.check(*POST, challenged(verifier, "another-secret").request(*POST, b"").authorization)


def test_a_counter_is_a_number(verifier):
    prover = challenged(verifier)
    for counter in ("-1", "x", "1" * 16, "²"):
        prover._counter = 0
        numbers = (prover._nonce, counter, "0" * 32)
        digest = sha256(b"").hexdigest()
        proof = _proof(SECRET, "request", *POST, *numbers, digest)
        fields = zip(("nonce", "counter", "number", "digest", "proof"), (*numbers, digest, proof))
        with pytest.raises(PeerUnknown):
            verifier.check(*POST, "SFSS-Node " + ", ".join(f'{n}="{v}"' for n, v in fields))


# Real nodes.


async def test_a_cluster_with_a_secret_never_sends_it(tmp_path):
    """Files, a restart, a new life of a node: all by proofs; and no wire has seen the secret."""
    seen = bytearray()
    async with Cluster(
        tmp_path, "--names", "exact", "--node-secret", SECRET, "--write-token", "writer-token"
    ) as cluster:
        for wire in cluster.wires.values():
            wire.watch(seen)
        for number in range(20):
            answer = await cluster.ask(
                "ABC"[number % 3], "PUT", f"/f/{number}", b"%d" % number, Authorization="Bearer writer-token"
            )
            assert answer.status == 201
        assert len(await cluster.until_equal()) == 20
        await cluster.kill("B")
        await cluster.ask("A", "PUT", "/later", b"x", Authorization="Bearer writer-token")
        await cluster.start("B")
        assert len(await cluster.until_equal()) == 21
    assert b"SFSS-Node" in seen and b"/_replication" in seen
    assert SECRET.encode() not in seen


async def test_who_answers_must_know_the_secret_too(tmp_path):
    """At a peer's address somebody else answers: he is told nothing, and not believed."""
    heard = bytearray()

    async def serve(reader, writer):
        while data := await reader.read(65536):
            heard.extend(data)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with listening(serve) as port:
        transport = HttpTransport(SECRET, "", 1000)
        with pytest.raises(PeerFailed):
            await transport.exchange(f"http://127.0.0.1:{port}", [b"private message"])
        assert b"private message" not in heard and SECRET.encode() not in heard
        await transport.close()


async def test_who_knows_the_challenge_and_not_the_secret_is_not_believed():
    async def serve(reader, writer):
        await reader.read(65536)
        writer.write(
            b'HTTP/1.1 401 No\r\nWWW-Authenticate: SFSS-Node nonce="1-2-3"\r\nContent-Length: 0\r\n\r\n'
        )
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with listening(serve) as port:
        transport = HttpTransport(SECRET, "", 1000)
        with pytest.raises(PeerFailed, match="has not proved"):
            await transport.exchange(f"http://127.0.0.1:{port}", [b"message"])
        await transport.close()


def test_over_http(tmp_path):
    node = SfssNode(tmp_path, "--node-secret", SECRET)
    headers = {"Content-Type": "application/x-sfss-replication"}
    answer = ask(node.port, request(*POST, b"x", headers))
    assert answer.status == 401 and answer.headers["www-authenticate"].startswith("SFSS-Node nonce=")
    prover = Prover(SECRET)
    assert prover.take_challenge(answer.headers["www-authenticate"])
    proved = prover.request(*POST, b"x")
    sent = headers | {"Authorization": proved.authorization}
    assert ask(node.port, request(*POST, b"y", sent)).status == 401  # another body
    sent["Authorization"] = prover.request(*POST, b"x").authorization
    assert ask(node.port, request(*POST, b"x", sent)).status == 400  # it is proved, and no message
    assert PROOF_HEADER.lower() not in ask(node.port, request(*POST, b"x", sent)).headers
    node.stop()


async def test_a_node_that_has_the_secret_and_one_that_has_none(tmp_path):
    port, other = free_port(), free_port()
    knows = SfssNode(
        tmp_path / "a", "--node-secret", SECRET, "--node", f"http://127.0.0.1:{other}", port=port
    )
    open_one = SfssNode(tmp_path / "b", "--node", f"http://127.0.0.1:{port}", port=other)
    await asyncio.to_thread(knows.wait_for_line, "neighbour fails")
    await asyncio.to_thread(open_one.wait_for_line, "neighbour fails .*401")
    for node in (knows, open_one):
        await asyncio.to_thread(node.stop)
