"""The commands of `connect-helper`, by topic; `connect_helper.cli` puts them together."""
