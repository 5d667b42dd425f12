"""The Windows registry below HKEY_CURRENT_USER, as far as an installation needs it."""

from __future__ import annotations

import sys
from typing import Protocol

if sys.platform == "win32":
    import winreg


class Registry(Protocol):
    """Keys are paths with backslashes, values texts; the name "" is a key's default value."""

    def has(self, key: str) -> bool:
        """Tell whether the key exists."""
        ...

    def read(self, key: str, name: str) -> str | None:
        """A value; None when it or the key does not exist."""
        ...

    def write(self, key: str, name: str, value: str) -> None:
        """Set a value, making the key where it is missing."""
        ...

    def delete_value(self, key: str, name: str) -> None:
        """Delete a value that exists."""
        ...

    def delete_tree(self, key: str) -> None:
        """Delete a key that exists and all below it."""
        ...


if sys.platform == "win32":

    class CurrentUser:
        """HKEY_CURRENT_USER."""

        def has(self, key: str) -> bool:
            try:
                winreg.OpenKey(winreg.HKEY_CURRENT_USER, key).Close()
            except FileNotFoundError:
                return False
            return True

        def read(self, key: str, name: str) -> str | None:
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                    return str(winreg.QueryValueEx(opened, name)[0])
            except FileNotFoundError:
                return None

        def write(self, key: str, name: str, value: str) -> None:
            with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
                winreg.SetValueEx(opened, name, 0, winreg.REG_SZ, value)

        def delete_value(self, key: str, name: str) -> None:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, winreg.KEY_SET_VALUE) as opened:
                winreg.DeleteValue(opened, name)

        def delete_tree(self, key: str) -> None:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                below = [winreg.EnumKey(opened, index) for index in range(winreg.QueryInfoKey(opened)[0])]
            for name in below:
                self.delete_tree(rf"{key}\{name}")
            winreg.DeleteKey(winreg.HKEY_CURRENT_USER, key)


def own_registry() -> Registry | None:
    """The user's registry; None on systems without one."""
    if sys.platform == "win32":
        return CurrentUser()
    return None
