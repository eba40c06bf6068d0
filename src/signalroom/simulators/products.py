"""What the CRM sells; prices in whole dollars, because that is how its exports spell money."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    """One product; the description may hold commas, quotes and line breaks."""

    id: int
    name: str
    sku: str
    price: int
    description: str
    offer_id: int


SHIPPING_PRICES = (0, 0, 5, 9)

PRODUCTS: dict[str, tuple[Product, ...]] = {
    "CCW": (
        Product(4101, "CCW Online Course", "CCW-ONL-1", 89, "Course and certificate", 501),
        Product(4102, "CCW Online Course + Wallet Card", "CCW-ONL-2", 109, "Course, certificate, card", 501),
        Product(4103, "CCW Family Bundle, 2 seats", "CCW-FAM-2", 149, 'Two seats, one "household"', 502),
        Product(4104, "CCW Winter Special", "CCW-WIN-1", 67, "Course\nwith a printed handbook", 502),
        Product(4105, 'CCW "Lifetime" Access', "CCW-LIF-1", 199, 'Lifetime, "no renewals",\r\nall states', 501),
    ),
    "EXP": (
        Product(5201, "EXP Starter", "EXP-STA-1", 39, "First box", 601),
        Product(5202, "EXP Plus", "EXP-PLU-1", 59, "First box, larger", 601),
        Product(5203, "EXP Family, Annual", "EXP-FAM-12", 179, "Twelve boxes,\none a month", 602),
        Product(5204, "EXP Gift", "EXP-GIF-1", 45, 'A box "for someone else"', 602),
    ),
}
