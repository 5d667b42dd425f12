"""What the helper's own pages are told: plain JSON objects made from the program's state.

Names and paths pass `display`, since the other side chose them. Times are seconds since the epoch, 0 for
"not yet"; rates are kbit/s of 1000 bit; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from connect_helper.api.brandings import THEMES, Branding
from connect_helper.api.sites import SiteView
from connect_helper.consent.grants import Grant
from connect_helper.errors import InvalidRequest
from connect_helper.settings import Preferences, PreferencesStore
from connect_helper.spec.names import display
from connect_helper.spec.rates import policies_allowed, rate_cap_kbps, rate_locked, rate_wish
from connect_helper.transfers.entry import Listed
from connect_helper.transfers.file_reports import FilePage
from connect_helper.transfers.messages import FileReport
from connect_helper.transfers.plan import Overwrite, Resume, SessionPlan
from connect_helper.transfers.state import ACTIVE, TRANSITIONS, Move, Status
from connect_helper.transfers.transfer import Transfer

JsonObject = dict[str, Any]
Group = Literal["running", "finished", "failed"]

GROUPS: Final[Mapping[Status, Group]] = {
    Status.QUEUED: "running",
    Status.INITIATING: "running",
    Status.RUNNING: "running",
    Status.WILL_RETRY: "running",
    Status.COMPLETED: "finished",
    Status.CANCELLED: "failed",
    Status.FAILED: "failed",
}
_PATH_LIMIT: Final = 1_000  # characters of a path shown in full
_TEXT_LIMIT: Final = 500

# What to do about an error, by its slug; what happened is in the error's own sentence.
ADVICE: Final[Mapping[str, str]] = {
    "auth_failed": "Check the user name and the password, then sign in again.",
    "sign_in_needed": "Passwords are not kept when the helper ends. Sign in again to go on.",
    "interrupted": "Resume goes on where it stopped.",
    "host_not_found": "Check the network and the name of the server, then resume.",
    "connect_refused": "Ask the operator of the server whether it is running, then resume.",
    "connect_timed_out": "Check the network, a VPN or a firewall on the way, then resume.",
    "connect_failed": "Check the network, then resume.",
    "connection_lost": "Resume goes on where it stopped.",
    "weak_algorithms": "The operator of the server has to update it.",
    "host_key_unknown": "Resume to see the question again; accept only a key the operator confirms.",
    "host_key_changed": "This can be an attack. Ask the operator before anything else.",
    "host_key_mismatch": "The page named another key than the server shows. Ask the operator of the page.",
    "certificate_refused": "Ask the operator for the certificate, name it in the preferences, then resume.",
    "source_missing": "Put the file back, or choose it again on the page.",
    "source_changed": "Choose it again on the page to send it as it is now.",
    "source_denied": "Change the permissions of the file, then resume.",
    "source_error": "Check the file, then resume.",
    "target_missing": "Make the folder again, or choose another one, then resume.",
    "target_denied": "Choose a folder that can be written, or ask the operator of the server.",
    "target_is_folder": "Rename or move the folder of that name, then resume.",
    "target_not_folder": "Rename or move the file of that name, then resume.",
    "disk_full": "Free some space, then resume; what has arrived is kept.",
    "unsafe_name": "The sender has to rename the file.",
    "name_collision": "Two files would get one name. Rename one of them and start again.",
    "already_exists": "Move or rename the existing file, then resume.",
    "length_mismatch": "Resume to fetch what is missing.",
    "checksum_mismatch": "Resume to transfer the file again.",
    "bad_passphrase": "Start the transfer again and type the passphrase the files were protected with.",
    "cannot_decrypt": "Ask the sender whether the file was protected in the age format, and send it again.",
    "internal": "Resume. If it happens again, look into the helper's log.",
}


def transfer_view(listed: Listed) -> JsonObject:
    """One line of the activity list.

    `group` is what the filters of the page go by. `can` lists what may be asked for now. `error` is null
    unless something went wrong.
    """
    transfer = listed.transfer
    running = transfer.status is Status.RUNNING
    return {
        "id": transfer.id,
        "title": display(transfer.title),
        "direction": transfer.direction,
        "host": display(transfer.host),
        "port": transfer.port,
        "user": display(transfer.user),
        "origin": display(transfer.owner.origin),
        "status": transfer.status.value,
        "group": GROUPS.get(transfer.status, "finished"),
        "token": transfer.iteration_token,
        "bytes_written": transfer.bytes_written,
        "bytes_expected": transfer.bytes_expected,
        "rate_kbps": transfer.rate_kbps if running else 0,
        "rates": [round(rate) for rate in listed.rates_kbps] if running else [],
        "remaining_s": transfer.remaining_usec / 1e6,
        "elapsed_s": transfer.elapsed_usec / 1e6,
        "added_at": transfer.add_time,
        "started_at": transfer.start_time,
        "ended_at": transfer.end_time,
        "retry_at": transfer.retry_at if transfer.status is Status.WILL_RETRY else 0,
        "attempts": transfer.attempts,
        "current_file": display(transfer.current_file, _PATH_LIMIT),
        "place": display(transfer.explorer_path, _PATH_LIMIT),
        "transport": transfer.transport,
        "encrypted": transfer.encrypted,
        "counts": {
            "attempted": transfer.counts.attempted,
            "completed": transfer.counts.completed,
            "failed": transfer.counts.failed,
            "skipped": transfer.counts.skipped,
        },
        "note": display(transfer.note, _TEXT_LIMIT),
        "error": _error_view(transfer, needs_login=listed.needs_login),
        "can": _possible(transfer, needs_login=listed.needs_login),
    }


def _error_view(transfer: Transfer, *, needs_login: bool) -> JsonObject | None:
    if not transfer.error and not transfer.error_desc:
        return None
    slug = "sign_in_needed" if needs_login else transfer.error
    return {
        "code": transfer.error,
        "number": transfer.error_code,
        "message": display(transfer.error_desc, _TEXT_LIMIT),
        "advice": ADVICE.get(slug, ""),
    }


def _possible(transfer: Transfer, *, needs_login: bool) -> list[str]:
    known = TRANSITIONS[transfer.status]
    possible = []
    if transfer.status in ACTIVE or transfer.status is Status.QUEUED:
        possible.append("stop")
        if not rate_locked(transfer.spec):
            possible.append("rate")
    if Move.RESUME in known:
        sign_in = needs_login or transfer.error == "auth_failed"
        possible.append("sign_in" if sign_in else "resume")
    if Move.REMOVE in known:
        possible.append("remove")
    if transfer.explorer_path:
        possible.append("reveal")
    return possible


def transfer_details(listed: Listed) -> JsonObject:
    """The transfer monitor: the line of the list, and what the page asked for."""
    return {
        **transfer_view(listed),
        "app_id": display(listed.transfer.owner.app_id),
        "rate_limit_kbps": listed.plan.rate_kbps,
        "rate_choice": _rate_choice(listed.transfer),
        "facts": spec_facts(listed.transfer.spec, listed.plan),
    }


def _rate_choice(transfer: Transfer) -> JsonObject:
    """What the user may do about the rate, as the page that started it wants it.

    `cap_kbps` null: any; `policies` are those that may be chosen, none when the page fixed it.
    """
    return {
        "locked": rate_locked(transfer.spec),
        "cap_kbps": rate_cap_kbps(transfer.spec),
        "policy": rate_wish(transfer.spec).policy,
        "policies": policies_allowed(transfer.spec),
    }


def files_view(page: FilePage, *, live: bool) -> JsonObject:
    """`{"under_way": [...], "files": [...], "before"}`: `before` asks for older ones; null: none.

    `index` is a file's place in the transfer; that of a file under way counts within its session.
    """
    return {
        "under_way": [file_view(report, live=True) for report in page.under_way],
        "files": [file_view(report, live=live) for report in page.reports],
        "before": page.before,
    }


def file_words(report: FileReport, *, live: bool) -> str:
    """The state; "unfinished" when it was under way at the end of a session, and none runs (`live`) now."""
    return "unfinished" if report.state == "running" and not live else report.state


def file_view(report: FileReport, *, live: bool) -> JsonObject:
    """One file."""
    return {
        "index": report.index,
        "path": display(report.path, _PATH_LIMIT),
        "remote_path": display(report.remote_path, _PATH_LIMIT),
        "bytes_expected": report.bytes_expected,
        "bytes_written": report.bytes_written,
        "state": file_words(report, live=live),
        "code": report.code,
        "message": display(report.message, _TEXT_LIMIT),
        "proof": report.proof,
        "digest": report.digest,
    }


_OVERWRITE: Final[Mapping[Overwrite, str]] = {
    "always": "replaced",
    "none": "kept, nothing is replaced",
    "diff": "replaced when they differ",
    "older": "replaced when they are older",
    "diff+older": "replaced when they differ and are older",
}
_RESUME: Final[Mapping[Resume, str]] = {
    "none": "started over",
    "attributes": "continued when size and time fit",
    "sparse_checksum": "continued when samples of the content fit",
    "full_checksum": "continued when the whole content fits",
}


def spec_facts(spec: Mapping[str, Any], plan: SessionPlan) -> list[list[str]]:
    """Pairs of label and text: what the page asked for, as it was understood."""
    policies = plan.policies
    numbered = plan.direction == "receive" and policies.existing == "keep_both"
    texts = {
        "Destination folder": plan.destination,
        "Existing files": "kept, new ones get a number" if numbered else _OVERWRITE[policies.overwrite],
        "Partial files": _RESUME[policies.resume],
        "Checksum": "" if policies.checksum == "none" else policies.checksum,
        "Cookie": spec.get("cookie"),
    }
    return [
        [label, display(text, _TEXT_LIMIT)] for label, text in texts.items() if isinstance(text, str) and text
    ]


def counts_view(numbers: Mapping[Status, int]) -> JsonObject:
    """How many transfers each filter of the activity list shows."""
    counts = {"all": 0, "running": 0, "finished": 0, "failed": 0}
    for status, group in GROUPS.items():
        counts["all"] += numbers.get(status, 0)
        counts[group] += numbers.get(status, 0)
    return counts


def sites_view(sites: Iterable[SiteView], branding_of: Callable[[str], Branding | None]) -> JsonObject:
    """`{"sites": [{"origin", "key", "muted", "branding", "hosts": [...], "grants": [...]}]}`.

    `key` is the origin as the addresses of this API want it, `origin` the one to show. `branding` is what
    the site calls itself and its colours, `{"name", "light": ["#102030"], "dark": [...]}`, or null.
    """
    return {
        "sites": [
            {
                "origin": display(site.origin),
                "key": site.origin,
                "muted": site.muted,
                "branding": _branding_view(branding_of(site.origin)),
                "hosts": [
                    {"host": host.host, "port": host.port, "name": display(host.host), "since": host.since}
                    for host in site.hosts
                ],
                "grants": [_grant_view(grant) for grant in site.grants],
            }
            for site in sites
        ]
    }


def _branding_view(branding: Branding | None) -> JsonObject | None:
    if branding is None:
        return None
    light, dark = (branding.colours()[theme] for theme in THEMES)
    # A site that minds no dark mode gives the colours of one theme only.
    dark = light if branding.one_theme_only else dark
    return {"name": display(branding.name), "light": light, "dark": dark}


def _grant_view(grant: Grant) -> JsonObject:
    return {
        "id": grant.id,
        "kind": grant.kind,
        "path": display(grant.path, _PATH_LIMIT),
        "app_id": display(grant.scope.app_id),
        "since": grant.given_at,
    }


def preferences_view(store: PreferencesStore) -> JsonObject:
    """`{"values": {...}, "fields": {NAME: {...}}, "download_folder"}`.

    Facts of a field: type, optional, description, default, minimum, maximum, choices. `download_folder`
    is the folder in use while the preference of that name is empty.
    """
    return {
        "values": store.current.model_dump(),
        "fields": preference_fields(),
        "download_folder": display(str(store.download_folder), _PATH_LIMIT),
    }


def preference_fields() -> JsonObject:
    """Each preference with its description and what it takes, from the model itself."""
    properties = Preferences.model_json_schema()["properties"]
    fields = {}
    for name, schema in properties.items():
        forms = schema.get("anyOf", [schema])
        form = next(form for form in forms if form.get("type") != "null")
        fields[name] = {
            "type": form["type"],
            "optional": any(other.get("type") == "null" for other in forms),
            "description": schema.get("description", ""),
            "default": schema["default"],
            "minimum": form.get("minimum"),
            "maximum": form.get("maximum"),
            "choices": form.get("enum"),
        }
    return fields


def check_preferences(changes: Mapping[str, Any]) -> None:
    """Say in plain words what is wrong with a change; raises InvalidRequest naming the first such field."""
    fields = preference_fields()
    for name, value in changes.items():
        if name not in fields:
            raise InvalidRequest("There is no such preference.", field=name[:80])
        sentence = _complaint(fields[name], value)
        if sentence:
            raise InvalidRequest(sentence, field=name)


def _complaint(field: JsonObject, value: object) -> str:
    """What is wrong with `value`, "" when nothing is."""
    if value is None:
        return "" if field["optional"] else "A value is needed here."
    if field["type"] == "integer":
        inside = type(value) is int and field["minimum"] <= value <= field["maximum"]
        return "" if inside else f"Choose a whole number from {field['minimum']} to {field['maximum']}."
    if field["type"] == "boolean":
        return "" if isinstance(value, bool) else "Choose yes or no."
    if field["choices"] is not None:
        return "" if value in field["choices"] else f"Choose one of: {', '.join(field['choices'])}."
    return "" if isinstance(value, str) else "A text is needed here."
