"""The words of codes: 256, common, told apart by their first four letters. Pure."""

from __future__ import annotations

_TEXT = """
acorn actor alarm album amber angle apple april arrow atlas attic autumn bacon badge bagel baker
banjo barn basil beach beard beaver bench berry bishop blanket blossom boat bonus border bottle
bowl brick bridge broom bucket budget bugle butter cabin cactus camel candle canyon carpet castle
cedar cello chalk cherry circus clock cloud clover cobra coffee comet copper coral cotton cradle
crane cricket crown cube curtain dagger daisy dancer denim desert diamond dinner doctor dolphin
donkey dragon drum dune eagle easel echo elbow elder elephant engine envoy epoch fabric falcon
farmer feather fence ferry fiddle figure filter finger flame flute forest fossil fountain fox
frost funnel gadget galaxy garlic gecko ghost giant ginger glacier glove goblin gopher granite
grape guitar hammer harbor hazel helmet hermit hobby honey hotel icicle igloo indigo insect island
ivory jacket jaguar jelly jigsaw judge jungle juniper kettle kidney king kitten knight koala
ladder lagoon lantern laser lemon lentil lily lizard llama lobster locket lotus lumber lunch
magnet mango maple marble meadow melon mirror mitten monkey mosaic motor muffin museum napkin
needle nickel noodle nugget nutmeg oasis oboe ocean olive onion opera orange orchid otter oven
oyster paddle panda paper parrot peach pebble pencil pepper piano pigeon pillow pirate planet plum
pocket pony potato puzzle quartz queen quilt rabbit radar raven ribbon river robin rocket rubber
saddle salmon scarf shovel silver spider stable summer sunset tango teapot temple thunder tiger
timber tomato tulip tunnel turtle umbrella uncle unicorn valley vanilla velvet violin volcano
waffle walnut whale willow window yellow yogurt zebra zipper
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split())
