"""What may be typed into text controls. None of them allows a path, an option or markup."""

from __future__ import annotations

_NUMBER = r"[0-9][0-9eE.+\-]{0,11}"
_CHIP = r"[a-z][a-z0-9\-]{0,59}"
_PER = r" ?(req|tok)/(s|min|h|d|day)"
_LOAD = r"[0-9][0-9_.]{0,15}[kMBT]?"
_RATE = rf"([0-9][0-9.]{{0,11}} ?(USD|CNY)/h|{_CHIP})"
_PRICE = r"(input|output|cached)=[0-9][0-9.]{0,11} ?(USD|CNY)/Mtok"
_MOVED = r"[a-z][a-z_\-]{0,39}=[0-9][0-9.eE+]{0,11}%?[A-Za-z/ ]{0,16}"

#: a list or range of numbers
GRID = r"^[0-9][0-9eE.,:+\- ]{0,119}$"
#: a number, or up to a dozen of them
DOZEN = rf"^{_NUMBER}(, ?{_NUMBER}){{0,11}}$"
#: up to eight shares
SHARES = r"^[0-9][0-9.]{0,9}(, ?[0-9][0-9.]{0,9}){0,7}$"
#: from one hour to another
HOURS = r"^[0-9][0-9.]{0,7}-[0-9][0-9.]{0,7}$"
#: a number with its unit, or several of them
QUANTITY = r"^[0-9][0-9.eE+]{0,15} ?[A-Za-zµ/%]{1,12}$"
QUANTITIES = r"^[0-9][0-9.]{0,9} ?[A-Za-z]{1,4}(, ?[0-9][0-9.]{0,9} ?[A-Za-z]{1,4}){0,9}$"
#: how long a start is left out
WARMUP = r"^(auto|none|[0-9][0-9.eE+]{0,11} ?[A-Za-zµ]{1,4})$"
#: requests or tokens in a time, or up to a dozen loads
LOAD = rf"^{_LOAD}{_PER}$"
LOADS = rf"^({_LOAD}({_PER})?, ?){{0,11}}{_LOAD}{_PER}$"
#: an hourly rate or the id of a price; for several chips, whose it is
RATE = rf"^{_RATE}$"
RATES = rf"^({_RATE}|{_CHIP}={_RATE}(, ?{_CHIP}={_RATE}){{0,11}})$"
#: an API's prices by part
PRICES = rf"^{_PRICE}(, ?{_PRICE}){{1,2}}$"
#: chips with their shares
MIX = rf"^{_CHIP}=[0-9][0-9.]{{0,9}}(, ?{_CHIP}=[0-9][0-9.]{{0,9}}){{0,7}}$"
#: assumptions with other values
ASSUMED = rf"^{_MOVED}(, ?{_MOVED}){{0,9}}$"
#: a line of text
TITLE = r"^[^\x00-\x1f]{1,120}$"
