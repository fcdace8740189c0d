"""The words that keys and values are made of, and the text that needles are hidden in where none is given."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words(
    "amber ancient bitter brave bronze calm clever cobalt copper coral crimson crystal dusty eager early faded fancy "
    "frozen gentle golden grand hidden hollow humble ivory jolly keen lively lonely lucky marble mellow misty modest "
    "noble odd pale patient plain polished proud quiet rapid rusty scarlet shy silent sleepy smooth solemn spare "
    "steady stormy sturdy sunny swift tidy timid velvet violet vivid wild wise wooden"
)
NOUNS = _words(
    "anchor badger basket beaver blanket bottle bridge bucket candle carpet castle cellar chapel compass cottage "
    "cradle cricket dragon engine falcon feather ferry fiddle fountain garden goose guitar hammer harbor hedge heron "
    "island jacket kettle ladder lantern lemon lobster magnet meadow mirror needle orchard otter oyster paddle parrot "
    "pebble pepper pigeon pillow pocket rabbit ribbon saddle shovel spider teapot temple thistle tunnel turtle walnut "
    "whistle"
)
VALUES = _words(
    "almond apron arrow autumn bamboo barrel beacon bishop blossom border butter cactus camel canyon cedar cherry "
    "circus clover coffee comet cotton curtain daisy desert diamond dinner dolphin donkey eagle elbow ember fabric "
    "father flute forest fossil galaxy ginger glacier granite harvest helmet honey hunter insect jasmine jungle "
    "kitchen lizard locket maple marina mustard nectar nephew ocean olive opera orange orchid panther paper pearl "
    "pencil pilot planet pottery prairie prince pumpkin quartz raven reef river rocket saffron sailor salmon school "
    "shadow silver sister summer tailor tiger timber tobacco tulip valley vessel village violin volcano wagon willow "
    "window winter wizard wolf zebra zipper"
)
NOISE = (
    "The road runs along the water until it reaches the hill.",
    "Nobody was in a hurry, so the morning went by slowly.",
    "A cart stood before the house, and the horse ate grass.",
    "Later the rain stopped and people came out again.",
    "They spoke about the weather, and then about bread.",
    "The door was open, but the room behind it was dark.",
    "In the evening lights came on, one after the other.",
    "It takes a while to walk there, and longer to come back.",
    "Some of the boats were out, and some lay on the sand.",
    "He counted the steps, lost the number and began anew.",
    "The market is on Tuesdays and the bakery closes at noon.",
    "From up there one sees the fields and a part of the lake.",
)
"""Sentences that say nothing a task asks for."""
