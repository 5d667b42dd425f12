"""The SFTP server: version 3 as OpenSSH speaks it, for one docroot and one session's rights."""
