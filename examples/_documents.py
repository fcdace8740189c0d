"""What the scripts on data clean and sign: equal once normalised, one word more, short, and many alike."""

BASE = "Ｔｈｅ ｑｕｉｃｋ brown fox jumps over the lazy dog near the café by the river and it rains all day in spring"
DOCUMENTS = [
    BASE,
    BASE.replace("café", "cafe\u0301"),
    BASE + " again",
    "plain text",
    *(f"ﬁle {i} says ① and №" for i in range(60)),
]
