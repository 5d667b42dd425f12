"""One side of a pairing, for tests that speak for the extension, or in the helper's place."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connect_helper.consent.key_exchange import Transcript, commitment_to

CURVE = ec.SECP256R1()


@dataclass(frozen=True, slots=True)
class PairingKey:
    """A key for one exchange."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(CURVE))

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex()

    @property
    def commitment(self) -> str:
        return commitment_to(self.public)

    def finish(self, helper_key: str, origin: str, port: int) -> tuple[str, str]:
        """The code that the user has to type, and the secret."""
        transcript = Transcript(self.public, helper_key, origin, port)
        return transcript.code(), transcript.secret(self.shared(helper_key))

    def shared(self, other: str) -> bytes:
        """What ECDH gives with the other side's public key."""
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, bytes.fromhex(other))
        return self.private.exchange(ec.ECDH(), theirs)
