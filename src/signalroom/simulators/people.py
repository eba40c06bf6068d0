"""Invented buyers: pools of names, addresses and contact details, already spelled as CSV fields.

Telephone numbers are from the fictional 555-01xx block, IP addresses from the documentation ranges and
mail domains are example.* or a mistyping of it that no registry can hold.
"""

from __future__ import annotations

from functools import cache

from signalroom.simulators.chance import stream


def field(text: str) -> str:
    """Return `text` as one CSV field, quoted only if it has to be."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


_FIRST_NAMES = (
    "Ada Alba Amos Anselm Aria Bram Bea Carlo Cleo Cora Dario Dina Edda Elio Emre Enid Esme Ezra Faye Finn "
    "Gala Gus Hana Hugo Ida Inga Iris Ivo Jada Joel Juno Kai Lena Leon Lila Linus Luz Mabel Mara Milo Mina "
    "Nell Nico Nora Odin Olga Oona Otto Paz Pia Quinn Remy Rhea Rosa Rune Saul Selma Tess Thea Tobias Ulla "
    "Vera Wren Zoé"
)
_LAST_NAMES = (
    "Abbot Alder Ames Arden Ashby Barlow Beck Birch Bloom Brandt Bryce Byrne Cade Calder Carver Chase Colby "
    "Corbin Crane Dale Darrow Denholm Doyle Drake Easton Eddy Ellery Fairley Farrow Fenn Finch Forsyth Frost "
    "Galt Garrow Glenn Grady Hale Harlow Hartley Hayes Heath Holm Hurst Ingram Jarvis Keane Keller Kemp Kerr "
    "Lacey Lark Lowell Lund Marlow Mercer Moss Nash Noble Oakes Orr Page Parr Pell"
)
_LAST = _LAST_NAMES.split()
_ODD_LAST = ("Núñez", "O'Dell", "Ames, Jr.", 'Kerr "Kit" Vale', "de la Rue", "Sørensen", "Fenn-Doyle", "Öz")
_STREETS = ("Alder Way", "Bridge St", "Canal Rd", "Elm Ct", "Foundry Ln", "Hill Ave", "Mill St", "Orchard Dr")
_PLACES = (
    ("Agawam", "MA", "01001"), ("Newton", "MA", "02458"), ("Nashua", "NH", "03060"), ("Saco", "ME", "04072"),
    ("Stowe", "VT", "05672"), ("Avon", "CT", "06001"), ("Summit", "NJ", "07901"), ("Trenton", "NJ", "08608"),
    ("Albany", "NY", "12207"), ("Reading", "PA", "19601"), ("Dover", "DE", "19901"), ("Bowie", "MD", "20715"),
    ("Roanoke", "VA", "24011"), ("Raleigh", "NC", "27601"), ("Aiken", "SC", "29801"), ("Macon", "GA", "31201"),
    ("Ocala", "FL", "34470"), ("Tampa", "FL", "33602"), ("Mobile", "AL", "36602"), ("Dayton", "OH", "45402"),
    ("Muncie", "IN", "47302"), ("Flint", "MI", "48502"), ("Ames", "IA", "50010"), ("Racine", "WI", "53403"),
    ("Duluth", "MN", "55802"), ("Peoria", "IL", "61602"), ("Tulsa", "OK", "74103"), ("Waco", "TX", "76701"),
    ("Plano", "TX", "75074"), ("Boulder", "CO", "80302"), ("Boise", "ID", "83702"), ("Provo", "UT", "84601"),
    ("Mesa", "AZ", "85201"), ("Reno", "NV", "89501"), ("Fresno", "CA", "93721"), ("Salem", "OR", "97301"),
)  # fmt: skip
_AREA_CODES = ("207", "216", "303", "312", "404", "413", "503", "512", "602", "617", "702", "713", "801", "813")
_DOMAINS = (
    *("example.com",) * 34, *("example.org",) * 16, *("example.net",) * 12,
    "example.con", "example.cmo",
)  # fmt: skip


@cache
def first_names() -> tuple[str, ...]:
    """Return 64 first names as CSV fields."""
    return tuple(field(name) for name in _FIRST_NAMES.split())


@cache
def last_names() -> tuple[str, ...]:
    """Return 128 last names as CSV fields; a few need quotes."""
    return tuple(field(name) for name in (*_LAST, *_LAST[: 64 - len(_ODD_LAST)], *_ODD_LAST))


@cache
def addresses() -> tuple[str, ...]:
    """Return 512 addresses as CSV text: street, suburb, city, state, postcode and country.

    Postcodes have 5 digits, or 9 without a dash, leading zeros included.
    """
    chance = stream(0, "addresses")
    made: list[str] = []
    for number in range(512):
        city, state, postcode = _PLACES[number % len(_PLACES)]
        street = f"{chance.randrange(1, 9_900)} {chance.choice(_STREETS)}"
        if chance.random() < 0.06:
            street = chance.choice((f"{street}, Apt {number}", f"{street}\nUnit {number}", f'"{city}" {street}'))
        suburb = chance.choice(("", "NA", "N/A", "None", "", "Old Town"))
        if chance.random() < 0.2:
            postcode += f"{chance.randrange(10_000):04d}"
        made.append(",".join((field(street), suburb, city, state, postcode, "US")))
    return tuple(made)


@cache
def phones() -> tuple[str, ...]:
    """Return 2,048 telephone numbers of 10 digits, a quarter of them with the country's 1 before."""
    chance = stream(0, "phones")
    return tuple(
        f"{'1' if chance.random() < 0.25 else ''}{chance.choice(_AREA_CODES)}55501{chance.randrange(100):02d}"
        for _ in range(2_048)
    )


@cache
def ip_addresses() -> tuple[str, ...]:
    """Return 1,024 IP addresses, one in six of them IPv6."""
    chance = stream(0, "ip addresses")
    made: list[str] = []
    for _ in range(1_024):
        if chance.random() < 1 / 6:
            made.append(
                f"2001:db8:{chance.randrange(65_536):x}:{chance.randrange(65_536):x}::{chance.randrange(256):x}"
            )
        else:
            block = chance.choice(("192.0.2", "198.51.100", "203.0.113"))
            made.append(f"{block}.{chance.randrange(1, 255)}")
    return tuple(made)


@cache
def mail_names() -> tuple[str, ...]:
    """Return 128 local parts, one a last name, in plain letters."""
    odd = ("nunez", "odell", "ames.jr", "kerr.vale", "delarue", "sorensen", "fenn.doyle", "oz")
    plain = [name.lower() for name in (*_LAST, *_LAST[: 64 - len(odd)])]
    return (*plain, *odd)


def mail_domains() -> tuple[str, ...]:
    """Return 64 mail domains, one in 32 mistyped."""
    return _DOMAINS
