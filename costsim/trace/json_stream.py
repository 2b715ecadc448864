"""The events of a Chrome trace one by one: a JSON document of any size is read in pieces of a few MB.

Two forms exist: an object whose ``traceEvents`` is the array of events, and the bare array. One value is
decoded at a time, so memory follows the largest event and not the file. The bare array may lack its end
(the format allows it, and a killed run leaves it), as may the object: what was read then stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from costsim.errors import BadInput, Malformed

#: the longest single event or header value, in characters; a real event with its call stack has under 0.1 MB
MAX_VALUE = 4_000_000
PIECE = 1_000_000
#: top-level keys that are decoded; the values of others are stepped over, whatever their size
HEADER_KEYS = (
    "schemaVersion", "deviceProperties", "distributedInfo", "traceName", "displayTimeUnit", "baseTimeNanoseconds",
)  # fmt: skip
_SPACE = re.compile(r"[ \t\n\r]*")
_BETWEEN = re.compile(r"[ \t\n\r,]*")
_MARK = re.compile(r'["\[\]{}]')
_STRING_END = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: what some producers write and JSON does not have: bare nan and inf, and backslashes of Windows paths
_STRING_OR_WORD = re.compile(r'"(?:[^"\\]|\\.)*+"|-?(?:nan|inf)(?:inity|\(ind\))?(?![\w"])', re.DOTALL | re.IGNORECASE)
_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')


class EventStream:
    """Iterate over the events of ``read`` (more text at each call, "" at the end); then ``header`` is whole.

    BadInput, one line, where the text is no trace, an event is longer than MAX_VALUE or nests too deep.
    """

    def __init__(self, read: Callable[[], str], name: str) -> None:
        self.header: dict[str, Any] = {}
        self.truncated = False
        self.mended = 0
        self._read, self._name = read, name
        self._text, self._at, self._before, self._ended = "", 0, 0, False
        self._decode = json.JSONDecoder(strict=False).raw_decode

    def __iter__(self) -> Iterator[Any]:
        first = self._next(_SPACE)
        if first == "[":
            yield from self._events()
        elif first == "{":
            yield from self._object()
        else:
            raise self._wrong("a trace is a JSON object with traceEvents, or a JSON array of events")

    def _object(self) -> Iterator[Any]:
        """The members of the outer object; only the array of events is handed on."""
        self._at += 1
        found = False
        while (char := self._next(_BETWEEN)) != "}":
            if char == "":
                self.truncated = True
                break
            if char != '"':
                raise self._wrong("expected a key in quotes")
            key = self._value()
            if self._next(_SPACE) != ":":
                raise self._wrong(f"expected a colon after {str(key)[:40]!r}")
            self._at += 1
            char = self._next(_SPACE)
            if key == "traceEvents" and char == "[":
                found = True
                yield from self._events()
            elif key in HEADER_KEYS:
                self.header[key] = self._value()
            else:
                self._step_over()
        if not found:
            raise Malformed(
                f"trace {self._name}: has no traceEvents; give a trace of torch.profiler or another Chrome trace"
            )

    def _events(self) -> Iterator[Any]:
        self._at += 1
        while (char := self._next(_BETWEEN)) != "]":
            if char == "":
                self.truncated = True
                return
            yield self._value()
        self._at += 1

    def _next(self, between: re.Pattern[str]) -> str:
        """The next character that is not between values, without taking it; "" at the end of the file."""
        while True:
            match = between.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(PIECE):
                return ""

    def _more(self, least: int) -> bool:
        """Read at least ``least`` further characters if there are any; what lies behind is dropped."""
        if self._ended:
            return False
        parts, size = [self._text[self._at :]], 0
        while size < least and not self._ended:
            part = self._read()
            self._ended = not part
            parts.append(part)
            size += len(part)
        if size == 0:
            return False  # places in the text stay as they are
        self._before += self._at
        self._text, self._at = "".join(parts), 0
        return True

    def _value(self) -> Any:
        """One whole JSON value from here on; more text is read while it is not complete."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise self._wrong("nests too deep for a trace") from None
            except json.JSONDecodeError as error:
                if len(self._text) - self._at <= MAX_VALUE and self._more(max(PIECE, len(self._text) - self._at)):
                    continue
                return self._mended(error)
            except ValueError as error:  # an integer of thousands of digits
                raise self._wrong(str(error).split(";")[0]) from None
            if len(self._text) - end < 4 and self._more(PIECE):  # a number may go on in the next piece: 1 | .5e-3
                continue
            if end - self._at > MAX_VALUE:
                raise self._wrong(f"one value of more than {MAX_VALUE:,} characters")
            self._at = end
            return value

    def _mended(self, error: json.JSONDecodeError) -> Any:
        """The value with bare nan and inf as null and stray backslashes kept as such; or why it cannot be read."""
        end = self._end_of_value()
        if end is None:
            if self._ended:  # the file breaks off inside a value: what came before it stands
                self.truncated, self._at = True, len(self._text)
                return None
            raise self._wrong(f"one value of more than {MAX_VALUE:,} characters")

        def mend(match: re.Match[str]) -> str:
            text = match.group()
            if not text.startswith('"'):
                return "null"
            return _ESCAPE.sub(lambda found: found.group() if found.group(1) else "\\\\", text)

        try:
            value = json.loads(_STRING_OR_WORD.sub(mend, self._text[self._at : end]), strict=False)
        except (ValueError, RecursionError):
            self._at = max(error.pos, self._at)
            raise self._wrong(error.msg.lower()) from None
        self._at, self.mended = end, self.mended + 1
        return value

    def _end_of_value(self) -> int | None:
        """Where the brackets opened from here on are closed, within MAX_VALUE characters of the text at hand."""
        depth, at, last = 0, self._at, min(len(self._text), self._at + MAX_VALUE)
        while (match := _MARK.search(self._text, at, last)) is not None:
            at = match.end()
            if match.group() == '"':
                closed = _STRING_END.match(self._text, at, last)
                if closed is None:
                    return None
                at = closed.end()
            else:
                depth += 1 if match.group() in "[{" else -1
            if depth <= 0:
                return at
        return None

    def _step_over(self) -> None:
        """Pass a value that nobody asked for without building it: only brackets and quotes are looked at."""
        if self._next(_SPACE) not in '[{"':
            self._value()
            return
        depth, quoted = 0, False
        while True:
            match = _STRING_END.match(self._text, self._at) if quoted else _MARK.search(self._text, self._at)
            if match is None:
                rest = self._text[self._at :]
                # a backslash at the very end keeps its partner, which is in the next piece
                self._at = len(self._text) - (quoted and (len(rest) - len(rest.rstrip("\\"))) % 2)
                if not self._more(PIECE):
                    self.truncated, self._at = True, len(self._text)
                    return
                continue
            self._at = match.end()
            opened = not quoted and match.group() == '"'
            if not quoted and not opened:
                depth += 1 if match.group() in "[{" else -1
            quoted = opened
            if depth <= 0 and not quoted:
                return

    def _wrong(self, what: str) -> BadInput:
        where = f"at character {self._before + self._at:,}"
        return Malformed(f"trace {self._name}: cannot be read as a trace: {what} ({where})")
