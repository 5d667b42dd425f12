"""No field of a transfer spec is taken and forgotten, none is missing from the page that describes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from connect_helper.spec.rates import parse_rates, rate_wish
from connect_helper.spec.support import NEVER, WITHOUT_EFFECT
from connect_helper.spec.transfer_spec import parse_spec

PAGE = Path(__file__).parents[2] / "docs" / "transfer-spec.md"

# Every field clients and servers are known to send, aliases included.
NAMES = """
direction remote_host remote_user remote_password authentication token ssh_port fasp_port ssh_private_key
ssh_private_key_passphrase ssh_private_key_path sshfp ssh_fingerprint remote_access_key source_root_id
destination_root_id fasp_proxy proxy dgram_size wss_enabled wss_port use_system_ssh ssh_args password icos
fasp_url paths source_root destination_root create_dir src_base src_base64 apply_local_docroot
obfuscate_file_names download_name zip_required paths_count paths_datafile overwrite overwrite_policy
resume_policy resume resume_level resume_check save_before_overwrite save-before-overwrite
skip_duplicate_check delete_before_transfer target_rate_kbps min_rate_kbps target_rate_cap_kbps
min_rate_cap_kbps rate_policy rate_policy_allowed lock_rate_policy lock_target_rate_kbps lock_target_rate
lock_min_rate_kbps lock_min_rate lock_policy target_rate_percentage cipher cipher_allowed
content_protection content_protection_password content_protection_passphrase fail_bad_filepass file_checksum
exclude_newer_than exclude_older_than exclude_patterns include_patterns exclusion_patterns
inclusion_patterns symlink_policy skip_special_files preserve_times preserve_modification_time
preserve_access_time preserve_creation_time preserve_source_access_time preserve_file_owner_uid
preserve_file_owner_gid preserve_acls preserve_extended_attrs preserve_remote_acls
preserve_remote_extended_attrs precalculate_job_size remove_after_transfer move_after_transfer
remove_empty_directories remove_empty_source_dir remove_empty_source_directory remove_skipped delete_source
http_fallback http_fallback_port https_fallback_port https_fallback cookie tags tags64 title multi_session
multi_session_threshold retry_duration xfer_max_retries keepalive use_ascp4 compression read_threads
write_threads
"""
FIELDS = set(NAMES.split())


class Noted(Mapping[str, Any]):
    """A spec that notes what it is asked for."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def test_each_field_acts_or_is_named_as_one_that_does_not(make_raw: Callable[..., dict[str, Any]]) -> None:
    asked: set[str] = set()
    for fields in ({}, {"content_protection": "encrypt"}):
        raw = Noted(make_raw(**fields))
        parse_spec(raw)
        parse_rates(raw)
        rate_wish(raw)
        asked |= raw.asked
    assert FIELDS - asked - set(NEVER) - set(WITHOUT_EFFECT) == set()
    assert set(NEVER) & set(WITHOUT_EFFECT) == set()


def test_each_field_is_described() -> None:
    text = PAGE.read_text()
    described = set(re.findall(r"`([a-z0-9_-]+)", text))
    assert FIELDS - described == set()
    assert {*NEVER, *WITHOUT_EFFECT} - described == set()
