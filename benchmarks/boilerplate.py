"""Pages without worth, made by code: menus, forms, shelves, notices. Two halves of the web that share no sentence.

`pages("seen", …)` and `pages("unseen", …)` draw from different phrases, so that a classifier that learnt one by heart
gains nothing in the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

Half = dict[str, tuple[str, ...]]

SEEN: Half = {
    "menu": (
        "Home", "About us", "Products", "Support", "Contact", "Login", "Register", "My account", "Cart (0)", "Search",
        "News", "Blog", "FAQ", "Sitemap", "Careers", "Press", "Privacy", "Terms", "Share", "Tweet", "Print this page",
        "Back to top", "Follow us", "Newsletter", "English", "Deutsch", "Previous", "Next page",
    ),
    "notice": (
        "By opening an account you accept the conditions below, which may change without a letter to you.",
        "All text and pictures here are given as they are, without any warranty.",
        "We use cookies to improve your experience. By continuing to browse you agree to our use of cookies.",
        "Your address is never sold. It may be shared with those who carry parcels to your door.",
        "If one sentence of these conditions turns out to be void, all others stay in force.",
        "Copyright {year} {name}. All rights reserved. Designed by {name}.",
        "Sign up for our newsletter and get {number} % off your first order.",
        "This site is best viewed with a modern browser. Please enable scripts.",
        "Unauthorized copying of this page is prohibited. Contact {name} for permission.",
        "You must be logged in to post a comment. Click here to log in or create an account.",
    ),
    "form": (
        "First name *", "Last name *", "E-mail address *", "Password (at least 8 characters)", "Remember me",
        "Forgot your password?", "Submit", "Reset", "Select a country", "I agree to the terms", "Required field",
    ),
    "shelf": (
        "{name} {number}: in stock, add to cart", "Only {number} left! Buy now", "Was {number}.99, now {price}",
        "Free delivery on orders over {price}", "Customers who bought this also bought {name}", "Rating: {digit} of 5",
        "Add to wish list", "Compare", "Sold out", "View details",
    ),
}  # fmt: skip
UNSEEN: Half = {
    "menu": (
        "Start", "Who we are", "Shop all", "Help centre", "Get in touch", "Sign in", "Join", "Dashboard", "Basket",
        "Find", "Magazine", "Stories", "Questions", "Overview", "Jobs", "Media", "Data protection", "Imprint", "Like",
        "Pin it", "Send to a friend", "Top", "Subscribe", "RSS", "Français", "Español", "Older posts", "Newer posts",
    ),
    "notice": (
        "Use of this website constitutes acceptance of the user agreement and of the data policy.",
        "The information provided herein is for general purposes only and no liability is assumed.",
        "This website stores small files on your device. Manage preferences or accept all.",
        "Personal details are handled in accordance with applicable law and never passed on to third parties.",
        "Any dispute shall be settled by the courts at the registered office of {name}.",
        "(c) {year} by {name} and its licensors. Reproduction in whole or in part is forbidden.",
        "Be the first to hear about sales: leave your mail and receive a voucher worth {price}.",
        "Please turn off your ad blocker to keep reading. It only takes a moment.",
        "Images are for illustration only; actual items may differ from those shown.",
        "Members only: unlock {number} more articles with a free trial.",
    ),
    "form": (
        "Your name", "Phone", "Street and number", "Postcode", "City", "Message", "Choose file", "Send",
        "Keep me signed in", "Reset it", "Tick the box", "Captcha",
    ),
    "shelf": (
        "{name} edition {number}, ships today", "Hurry, offer ends in {number} hours",
        "List price {price}, you save {number} %", "Click and collect", "Others looked at {name}", "{number} reviews",
        "Save for later", "Quick view",
        "Pre-order", "More colours",
    ),
}  # fmt: skip
NAMES = ("Acme", "Globex", "Initech", "Umbra", "Novum", "Kestrel", "Lumen", "Orbis", "Tessera", "Vantage")


def pages(half: str, count: int, seed: int = 0) -> Iterator[str]:
    """So many pages of a half, "seen" or "unseen"; each has two to five blocks of one kind each."""
    phrases = {"seen": SEEN, "unseen": UNSEEN}[half]
    chosen = random.Random(f"{half} {seed}")
    for _ in range(count):
        yield "\n".join(_block(chosen, phrases) for _ in range(chosen.randint(2, 5)))


def _block(chosen: random.Random, phrases: Half) -> str:
    kind = chosen.choice(list(phrases))
    between = {"menu": chosen.choice((" | ", " » ", "\n", "  ")), "notice": " ", "form": "\n", "shelf": "\n"}[kind]
    parts = chosen.choices(phrases[kind], k=chosen.randint(3, 14))
    return between.join(
        part.format(
            name=chosen.choice(NAMES),
            year=chosen.randint(1999, 2026),
            number=chosen.randint(2, 90),
            digit=chosen.randint(1, 5),
            price=f"{chosen.randint(5, 90)}.99",
        )
        for part in parts
    )
