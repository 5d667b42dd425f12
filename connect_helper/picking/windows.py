"""Dialogs on Windows, by Windows PowerShell and System.Windows.Forms, which every Windows has.

The script is a constant, handed over encoded; what it shows comes in as one line of JSON on standard
input (ASCII with escapes, so that no code page can change it), the answer goes out the same way.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connect_helper.errors import Unavailable
from connect_helper.picking.base import Answer, Credentials, CredentialsQuestion, DialogRequest, Question
from connect_helper.picking.programs import run_program
from connect_helper.picking.wording import (
    caller_text,
    clean_filters,
    credentials_heading,
    question_lines,
    request_title,
    suggested_name,
)

# An owner window that is always on top brings the dialog before the browser. Labels turn "&" into a
# shortcut mark unless UseMnemonic is off. A folder dialog can give one folder only.
SCRIPT: Final = r"""
$ErrorActionPreference = 'Stop'
Add-Type -AssemblyName System.Windows.Forms
Add-Type -AssemblyName System.Drawing
[System.Windows.Forms.Application]::EnableVisualStyles()
$wish = [Console]::In.ReadLine() | ConvertFrom-Json
$owner = New-Object System.Windows.Forms.Form -Property @{ TopMost = $true; ShowInTaskbar = $false }
function New-Box([string]$title) {
  $form = New-Object System.Windows.Forms.Form -Property @{
    Text = $title; TopMost = $true; AutoSize = $true; AutoSizeMode = 'GrowAndShrink'; Padding = '16,16,16,16'
    FormBorderStyle = 'FixedDialog'; MaximizeBox = $false; MinimizeBox = $false
    StartPosition = 'CenterScreen'
  }
  $rows = New-Object System.Windows.Forms.FlowLayoutPanel -Property @{
    FlowDirection = 'TopDown'; AutoSize = $true; WrapContents = $false; Dock = 'Fill'
  }
  $form.Controls.Add($rows)
  $text = New-Object System.Windows.Forms.Label -Property @{
    Text = $wish.text; AutoSize = $true; MaximumSize = '460,600'; UseMnemonic = $false; Margin = '3,3,3,12'
  }
  $rows.Controls.Add($text)
  return $form, $rows
}
function Add-Buttons($form, $rows, [string]$no, [string]$yes) {
  $line = New-Object System.Windows.Forms.FlowLayoutPanel -Property @{ AutoSize = $true; Anchor = 'Right' }
  $made = foreach ($pair in @(@($yes, 'OK'), @($no, 'Cancel'))) {
    $button = New-Object System.Windows.Forms.Button -Property @{
      Text = $pair[0]; DialogResult = $pair[1]; AutoSize = $true; UseMnemonic = $false
    }
    $line.Controls.Add($button)
    $button
  }
  $rows.Controls.Add($line)
  $form.CancelButton = $made[1]
  return $made
}
$said = @{}
switch ($wish.kind) {
  'open-file' {
    $dialog = New-Object System.Windows.Forms.OpenFileDialog -Property @{
      Title = $wish.title; InitialDirectory = $wish.folder; Filter = $wish.filter
      Multiselect = $wish.multiple
    }
    if ($dialog.ShowDialog($owner) -eq 'OK') { $said.paths = @($dialog.FileNames) }
  }
  'open-folder' {
    $dialog = New-Object System.Windows.Forms.FolderBrowserDialog -Property @{
      Description = $wish.title; SelectedPath = $wish.folder; ShowNewFolderButton = $true
    }
    if ($dialog.ShowDialog($owner) -eq 'OK') { $said.paths = @($dialog.SelectedPath) }
  }
  'save-file' {
    $dialog = New-Object System.Windows.Forms.SaveFileDialog -Property @{
      Title = $wish.title; InitialDirectory = $wish.folder; FileName = $wish.name; Filter = $wish.filter
      OverwritePrompt = $true
    }
    if ($dialog.ShowDialog($owner) -eq 'OK') { $said.paths = @($dialog.FileName) }
  }
  'question' {
    $form, $rows = New-Box $wish.title
    $always = $null
    if ($wish.remember) {
      $always = New-Object System.Windows.Forms.CheckBox -Property @{
        Text = $wish.remember; AutoSize = $true; UseMnemonic = $false
      }
      $rows.Controls.Add($always)
    }
    $buttons = Add-Buttons $form $rows $wish.refuse $wish.accept
    $form.AcceptButton = $buttons[1]
    $form.ActiveControl = $buttons[1]
    $said.accepted = $form.ShowDialog() -eq 'OK'
    $said.remember = [bool]($said.accepted -and $always -and $always.Checked)
  }
  'credentials' {
    $form, $rows = New-Box $wish.title
    $fields = @{}
    foreach ($field in $wish.fields) {
      $label = New-Object System.Windows.Forms.Label -Property @{
        Text = $field.label; AutoSize = $true; UseMnemonic = $false
      }
      $box = New-Object System.Windows.Forms.TextBox -Property @{
        Width = 320; UseSystemPasswordChar = $field.hidden
      }
      $rows.Controls.Add($label); $rows.Controls.Add($box)
      $fields[$field.name] = $box
    }
    $buttons = Add-Buttons $form $rows 'Cancel' 'Sign in'
    $form.AcceptButton = $buttons[0]
    if ($form.ShowDialog() -eq 'OK') {
      foreach ($name in $fields.Keys) { $said[$name] = $fields[$name].Text }
    }
  }
}
$json = ConvertTo-Json -Compress $said
$ascii = [regex]::Replace($json, '[^\x00-\x7F]', { param($m) '\u{0:x4}' -f [int][char]$m.Value })
[Console]::Out.WriteLine($ascii)
"""


class WindowsDialogs:
    """Picker and Asker by the PowerShell at `program`."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._environment = environment

    async def pick(self, request: DialogRequest) -> Sequence[Path]:
        """See `Picker.pick`; a folder dialog gives one folder even when several are allowed."""
        return [Path(text) for text in (await self._show(pick_wish(request))).get("paths") or ()]

    async def ask(self, question: Question) -> Answer:
        """See `Asker.ask`."""
        said = await self._show(question_wish(question))
        accepted = said.get("accepted") is True
        return Answer(accepted, remember=accepted and said.get("remember") is True)

    async def ask_credentials(self, question: CredentialsQuestion) -> Credentials | None:
        """See `Asker.ask_credentials`."""
        said = await self._show(credentials_wish(question))
        user = question.user if question.user is not None else str(said.get("user", "")).strip()
        return Credentials(user, str(said["secret"])) if user and "secret" in said else None

    async def _show(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        line = json.dumps(wish).encode("ascii") + b"\n"
        finished = await run_program(command_line(self._program), environment=self._environment, stdin=line)
        if finished.closed_from_outside:
            return {}
        if finished.code:
            raise Unavailable(
                "The dialog could not be shown.",
                internal_message=f"PowerShell ended with {finished.code}: {finished.complaints[:300]!r}",
            )
        said: dict[str, Any] = json.loads(finished.output)
        return said


def powershell(environment: Mapping[str, str]) -> str | None:
    """Windows PowerShell below the system's own folder, None when it is not there."""
    root = environment.get("SystemRoot") or environment.get("SYSTEMROOT") or r"C:\Windows"
    program = Path(root, "System32", "WindowsPowerShell", "v1.0", "powershell.exe")
    return os.fspath(program) if program.is_file() else None


def command_line(program: str) -> list[str]:
    """The whole command line: nothing in it depends on a request. Dialogs need `-STA`."""
    encoded = base64.b64encode(SCRIPT.encode("utf-16-le")).decode("ascii")
    return [program, "-NoLogo", "-NoProfile", "-NonInteractive", "-STA", "-EncodedCommand", encoded]


def pick_wish(request: DialogRequest) -> dict[str, Any]:
    """What the script shows for a file dialog; the filter is "Images|*.png;*.jpg|All|*.*"."""
    parts: list[str] = []
    for entry in clean_filters(request.filters):
        everything = "*" in entry.extensions
        parts += [entry.name, "*.*" if everything else ";".join(f"*.{item}" for item in entry.extensions)]
    return {
        "kind": request.kind,
        "title": request_title(request),
        "folder": os.fspath(request.start_folder or Path.home()),
        "multiple": request.multiple,
        "filter": "|".join(parts),
        "name": suggested_name(request),
    }


def question_wish(question: Question) -> dict[str, Any]:
    """What the script shows for a question; the focus, Enter and Escape are on no."""
    heading, *details = question_lines(question.heading, question.details)
    return {
        "kind": "question",
        "title": caller_text(question.caller),
        "text": "\r\n".join([heading, "", *details]) if details else heading,
        "accept": " ".join(question_lines(question.accept, ())),
        "refuse": " ".join(question_lines(question.refuse, ())),
        "remember": " ".join(question_lines(question.remember, ())),
    }


def credentials_wish(question: CredentialsQuestion) -> dict[str, Any]:
    """What the script shows to ask for a login."""
    fields = [
        {"name": "secret", "label": " ".join(question_lines(question.secret_label, ())), "hidden": True}
    ]
    if question.user is None:
        fields.insert(0, {"name": "user", "label": "User name", "hidden": False})
    return {
        "kind": "credentials",
        "title": caller_text(question.caller),
        "text": credentials_heading(question),
        "fields": fields,
    }
