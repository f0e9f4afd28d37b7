"""The words that the generators draw from."""

from __future__ import annotations

import hashlib
import itertools
import random

COMMON_NAMES = """
Aaron Abigail Adam Agnes Alan Albert Alexander Alfred Alice Amanda Amelia Amy Andrea Andrew Angela Anna Anthony Arthur
Ashley Barbara Beatrice Benjamin Bernard Bethany Bradley Brandon Brenda Brian Bruce Carl Carol Caroline Catherine Cecil
Charles Charlotte Chloe Christian Christina Christopher Clara Claire Clifford Colin Connor Craig Crystal Cynthia Daisy
Daniel Danielle David Dawn Deborah Dennis Diana Donald Dorothy Douglas Duncan Dylan Edgar Edith Edmund Edward Edwin
Eleanor Elizabeth Ella Ellen Emily Emma Eric Ernest Esther Ethan Eugene Evan Evelyn Felix Fiona Florence Frances Francis
Frank Frederick Gabriel Gareth Gavin Geoffrey George Gerald Gilbert Gloria Gordon Grace Graham Gregory Hannah Harold
Harriet Harry Harvey Hazel Heather Helen Henry Herbert Hilda Howard Hugh Hugo Ian Ida Irene Isaac Isabel Jack Jacob James
Jane Janet Jason Jasper Jean Jeffrey Jennifer Jeremy Jessica Joan Joanna Joel John Jonathan Joseph Joshua Joyce Judith
Julia Julian Justin Karen Katherine Keith Kenneth Kevin Kimberly Kyle Laura Lauren Lawrence Leonard Leslie Lewis Lillian
Lily Linda Lisa Lloyd Louis Louise Lucas Lucy Luke Mabel Malcolm Margaret Maria Marian Mark Martha Martin Mary Matilda
Matthew Maurice Megan Melissa Michael Michelle Mildred Molly Monica Morris Nancy Naomi Natalie Nathan Neil Nicholas
Nicole Nigel Nora Norman Oliver Olivia Oscar Owen Pamela Patricia Patrick Paul Paula Penelope Peter Philip Phoebe Rachel
Ralph Raymond Rebecca Richard Robert Robin Roger Roland Ronald Rosemary Roy Russell Ruth Ryan Samantha Samuel Sandra
Sarah Scott Sean Sharon Sheila Shirley Sidney Simon Sophie Stanley Stella Stephanie Stephen Steven Stuart Susan Sylvia
Teresa Theodore Thomas Timothy Tom Travis Trevor Tyler Ursula Vanessa Vera Vernon Victor Victoria Vincent Violet Virginia
Walter Wayne Wendy William Winifred Zachary Zoe
""".split()

_OPENINGS = "Al Bar Bel Bren Cal Cor Dar Del El Fen Gar Hal Jor Kal Lan Mar Mel Nor Or Pel Ros Sal Tam Tor Val Wil Yor Zan".split()
_MIDDLES = ["", "a", "e", "i", "o", "and", "er", "in", "or", "al", "en"]
_ENDINGS = "bert da dric fred la lia lin ma mir na nard nia ra ren ric rin sa son ta ton va vin ward wen win ya".split()
INVENTED_NAMES = sorted({a + b + c for a, b, c in itertools.product(_OPENINGS, _MIDDLES, _ENDINGS)} - set(COMMON_NAMES))
"""Thousands of names that look like names, so that copying a name can't be learned by heart."""


def _held_out(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] < 26


_COMMON = [name for name in COMMON_NAMES if not _held_out(name)]
_INVENTED = [name for name in INVENTED_NAMES if not _held_out(name)]
NAMES = [*_COMMON, *_INVENTED]
"""Names that generated text uses."""
HELD_OUT_NAMES = [name for name in [*COMMON_NAMES, *INVENTED_NAMES] if _held_out(name)]
"""A tenth of all names, by hash: no generator ever prints them, so that tests can."""

PLACES = """
store park school garden office station market library museum hospital restaurant beach church kitchen theatre house
farm bank cafe bakery harbour river castle village workshop stadium airport hotel cinema zoo bookshop palace
""".split()
OBJECTS = """
drink book letter key ring basket pencil ball flower coin map lamp ticket cup gift necklace computer kiss bone newspaper
snack apple knife bottle painting photograph hammer blanket candle hat watch box guitar umbrella scarf stone
""".split()
ADJECTIVES = """
old young small large quiet happy red blue green tall short heavy bright dark cold warm rich poor kind strange plain clever
brave gentle proud tired lonely famous careful honest
""".split()
ADVERBS = "slowly quickly often never always gladly quietly rarely carefully seldom usually sometimes".split()
NOUNS = dict(
    pair.split("/")
    for pair in """
        boy/boys girl/girls dog/dogs cat/cats teacher/teachers doctor/doctors farmer/farmers king/kings queen/queens
        author/authors pilot/pilots guard/guards uncle/uncles aunt/aunts cousin/cousins neighbour/neighbours lawyer/lawyers
        painter/painters singer/singers driver/drivers actor/actors clerk/clerks sailor/sailors soldier/soldiers baker/bakers
        athlete/athletes carpenter/carpenters skater/skaters chef/chefs friend/friends father/fathers mother/mothers
        brother/brothers sister/sisters parent/parents student/students assistant/assistants customer/customers
        manager/managers worker/workers writer/writers dancer/dancers officer/officers woman/women man/men child/children
        horse/horses bird/birds cow/cows sheepdog/sheepdogs fox/foxes wolf/wolves mouse/mice lady/ladies baby/babies
        ship/ships house/houses tree/trees car/cars chair/chairs window/windows picture/pictures story/stories
        river/rivers mountain/mountains machine/machines engine/engines city/cities box/boxes table/tables desk/desks
        truck/trucks bike/bikes kid/kids consultant/consultants executive/executives senator/senators
        """.split()
)
"""Singular to plural."""
VERBS = dict(
    pair.split("/")
    for pair in """
        run/runs walk/walks sing/sings sleep/sleeps work/works wait/waits read/reads write/writes laugh/laughs dance/dances
        play/plays swim/swims travel/travels smile/smiles go/goes come/comes stay/stays live/lives speak/speaks eat/eats
        know/knows think/thinks like/likes need/needs want/wants see/sees hear/hears remember/remembers
        """.split()
)
"""Base form to third person singular."""
AUXILIARIES = {"are": "is", "have": "has", "do": "does", "were": "was"}
"""Plural to singular."""
PREPOSITIONS = ["near", "behind", "beside", "under", "above", "with", "in front of", "next to", "across from", "by"]
WORDS = [*PLACES, *OBJECTS, *ADJECTIVES, *ADVERBS, *NOUNS, *NOUNS.values(), *VERBS, *VERBS.values()]
"""Every plain word above."""


def people(rng: random.Random, count: int) -> list[str]:
    """Different names, about half of them common ones."""
    common, invented = rng.sample(_COMMON, count), rng.sample(_INVENTED, count)
    return [rng.choice(pair) for pair in zip(common, invented, strict=True)]


def with_article(noun: str) -> str:
    """The noun behind "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
