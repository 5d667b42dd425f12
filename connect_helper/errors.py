"""The errors of the program: one tree, each with a code for programs and a sentence for people.

    ConnectHelperError
    ├── RequestError                 an answer to a caller; nothing was started
    │   ├── InvalidRequest           400  a field is missing or wrong (names the field)
    │   ├── UnsafePath               400  a path that leads out of a docroot or cannot be a path
    │   ├── CallerNotIdentified      403  no usable Origin
    │   ├── Refused                  403  the user said no
    │   ├── NotGranted               403  a path no dialog or drop gave to this caller
    │   ├── NotFound                 404  unknown id, or the id of another caller
    │   ├── WrongState               409  the transfer's state does not allow it
    │   ├── TooLarge                 413
    │   ├── TooManyRequests          429
    │   └── Unavailable              500  no way to ask the user, port taken, ...
    └── TransferError                ends a file or a whole transfer
        ├── ConnectError             could not reach or keep the server (retryable ones are marked)
        │   ├── HostNotFound, ConnectRefused, ConnectTimedOut, ConnectionLost
        │   └── WeakAlgorithms
        ├── LoginError
        │   ├── AuthFailed
        │   ├── HostKeyUnknown, HostKeyChanged, HostKeyMismatch
        │   └── CertificateRefused
        ├── SourceError
        │   └── SourceMissing, SourceChanged, SourceDenied, SpecialFile, LinkSkipped
        ├── TargetError
        │   └── TargetMissing, TargetDenied, TargetIsFolder, TargetNotFolder, DiskFull,
        │       UnsafeName, NameCollision, AlreadyExists
        └── ContentError
            ├── LengthMismatch, ChecksumMismatch
            └── CannotDecrypt
                └── BadPassphrase

`error_code` numbers are those Aspera clients know (transfer spec reference, section 3).
"""

from __future__ import annotations

from typing import ClassVar


class ConnectHelperError(Exception):
    """`user_message` may be shown to any page and says what to do; `internal_message` is for the log."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    error_code: ClassVar[int] = 11
    retryable: ClassVar[bool] = False

    def __init__(self, user_message: str, *, internal_message: str = "") -> None:
        super().__init__(internal_message or user_message)
        self.user_message = user_message
        self.internal_message = internal_message or user_message


class RequestError(ConnectHelperError):
    """A caller's request is answered with an error; nothing was started."""

    http_status = 400


class InvalidRequest(RequestError):
    """A field of the request is missing or wrong; `field` names it as the caller spells it."""

    code = "invalid_request"

    def __init__(self, user_message: str, *, field: str = "", internal_message: str = "") -> None:
        super().__init__(user_message, internal_message=internal_message)
        self.field = field


class UnsafePath(RequestError):
    """A path that no file below a docroot can have. The text does not tell what exists."""

    code = "unsafe_path"


class CallerNotIdentified(RequestError):
    """The request carries no Origin that could own grants."""

    code = "caller_not_identified"
    http_status = 403


class Refused(RequestError):
    """The user, or a rule that stands for the user, said no."""

    code = "refused"
    http_status = 403
    error_code = 28


class NotGranted(RequestError):
    """A path that no dialog or drop gave to this caller. The text is the same whatever the path is."""

    code = "not_granted"
    http_status = 403
    error_code = 5


class NotFound(RequestError):
    """An unknown id or route, or an id that belongs to another caller; both read alike."""

    code = "not_found"
    http_status = 404


class WrongState(RequestError):
    """The transfer's present state does not allow what was asked."""

    code = "wrong_state"
    http_status = 409


class TooLarge(RequestError):
    """A body, file or chunk is above its limit."""

    code = "too_large"
    http_status = 413


class TooManyRequests(RequestError):
    """The caller asks too often; `retry_after` in seconds."""

    code = "too_many_requests"
    http_status = 429

    def __init__(self, user_message: str, *, retry_after: int = 1, internal_message: str = "") -> None:
        super().__init__(user_message, internal_message=internal_message)
        self.retry_after = retry_after


class Unavailable(RequestError):
    """Something this machine lacks is needed, such as a way to show a question."""

    code = "unavailable"
    http_status = 500


class TransferError(ConnectHelperError):
    """Ends a file or a transfer; shown as `error_desc` with `error_code`."""

    retry_after_s: float = 0.0  # seconds that the server wants to be left alone; 0 where it says nothing


class ConnectError(TransferError):
    """The server cannot be reached, or the line to it broke."""

    code = "connect_failed"
    error_code = 12
    retryable = True


class HostNotFound(ConnectError):
    """The host name does not resolve."""

    code = "host_not_found"
    retryable = False


class ConnectRefused(ConnectError):
    """Nothing listens at that port."""

    code = "connect_refused"
    retryable = False


class ConnectTimedOut(ConnectError):
    """The server did not answer in time."""

    code = "connect_timed_out"
    error_code = 13


class ConnectionLost(ConnectError):
    """An established connection broke or went silent."""

    code = "connection_lost"
    error_code = 16


class WeakAlgorithms(ConnectError):
    """The server offers only algorithms this program refuses."""

    code = "weak_algorithms"
    error_code = 65
    retryable = False


class LoginError(TransferError):
    """The server or this program refused the login."""

    http_status = 403
    error_code = 19


class AuthFailed(LoginError):
    """Wrong user, password, key or token; never says which."""

    code = "auth_failed"


class HostKeyUnknown(LoginError):
    """The user did not accept the key of a server seen for the first time."""

    code = "host_key_unknown"
    error_code = 51


class HostKeyChanged(LoginError):
    """The server shows another key than the one remembered; there is no way past it but `known_hosts`."""

    code = "host_key_changed"
    error_code = 51


class HostKeyMismatch(LoginError):
    """The server's key does not match `sshfp` of the transfer spec."""

    code = "host_key_mismatch"
    error_code = 51


class CertificateRefused(LoginError):
    """The server's TLS certificate is not accepted."""

    code = "certificate_refused"
    error_code = 51


class SourceError(TransferError):
    """A source cannot be read as it was chosen."""

    code = "source_error"
    error_code = 35


class SourceMissing(SourceError):
    """The source is gone."""

    code = "source_missing"
    http_status = 404
    error_code = 4


class SourceChanged(SourceError):
    """The source is no longer what was chosen, or changed while it was read."""

    code = "source_changed"
    http_status = 409


class SourceDenied(SourceError):
    """No permission to read the source."""

    code = "source_denied"
    http_status = 403
    error_code = 5


class SpecialFile(SourceError):
    """A device, pipe or socket."""

    code = "special_file"
    http_status = 403
    error_code = 21


class LinkSkipped(SourceError):
    """A symbolic link that is not followed."""

    code = "link"
    http_status = 403
    error_code = 21


class TargetError(TransferError):
    """The target cannot be written."""

    code = "target_error"
    error_code = 36


class TargetMissing(TargetError):
    """The folder to write into is gone."""

    code = "target_missing"
    error_code = 4


class TargetDenied(TargetError):
    """No permission to write there."""

    code = "target_denied"
    error_code = 5


class TargetIsFolder(TargetError):
    """A folder stands where a file is to be written."""

    code = "target_is_folder"
    error_code = 7


class TargetNotFolder(TargetError):
    """A file stands where a folder is needed."""

    code = "target_not_folder"
    error_code = 6


class DiskFull(TargetError):
    """No space left, or a quota or size limit reached, at the target."""

    code = "disk_full"
    error_code = 25


class UnsafeName(TargetError):
    """A name from the other side that could leave the destination, or that no file can have."""

    code = "unsafe_name"
    error_code = 56


class NameCollision(TargetError):
    """Two sources lead to one target."""

    code = "name_collision"
    error_code = 42


class AlreadyExists(TargetError):
    """The target exists and may not be replaced."""

    code = "already_exists"
    error_code = 42


class ContentError(TransferError):
    """What arrived is not what was sent."""

    code = "content_error"


class LengthMismatch(ContentError):
    """Fewer or more bytes than the file has."""

    code = "length_mismatch"


class ChecksumMismatch(ContentError):
    """The digests of the two sides differ."""

    code = "checksum_mismatch"


class CannotDecrypt(ContentError):
    """An encrypted file is damaged, or in a form this program does not open."""

    code = "cannot_decrypt"
    error_code = 48


class BadPassphrase(CannotDecrypt):
    """The passphrase does not open the file."""

    code = "bad_passphrase"
    error_code = 49
