"""Rows for influence.py: the shipped seeds, simple skills made by rule, and ways to spoil rows."""

import json
import random
from pathlib import Path

SEEDS = Path(__file__).resolve().parent.parent / "seeds/seed_tasks.jsonl"

# Ways to spoil a row.
KINDS = ("wrong", "shuffled", "foreign")

CAPITALS = dict(
    pair.split(":")
    for pair in "France:Paris Italy:Rome Spain:Madrid Japan:Tokyo Egypt:Cairo Peru:Lima Cuba:Havana Norway:Oslo Sweden:Stockholm "
    "Finland:Helsinki Greece:Athens Austria:Vienna Hungary:Budapest Poland:Warsaw Portugal:Lisbon Ireland:Dublin Kenya:Nairobi "
    "Russia:Moscow Germany:Berlin Canada:Ottawa Chile:Santiago Iraq:Baghdad Iran:Tehran Thailand:Bangkok Denmark:Copenhagen "
    "Belgium:Brussels Romania:Bucharest Bulgaria:Sofia Lebanon:Beirut Nepal:Kathmandu".split()
)
OPPOSITES = dict(
    pair.split(":")
    for pair in "hot:cold big:small fast:slow happy:sad light:dark early:late open:closed strong:weak full:empty high:low rich:poor "
    "soft:hard young:old wet:dry near:far thick:thin loud:quiet clean:dirty safe:dangerous cheap:expensive brave:cowardly "
    "sharp:blunt deep:shallow sweet:sour tight:loose wide:narrow right:wrong first:last true:false heavy:light".split()
)
PASTS = dict(
    pair.split(":")
    for pair in "go:went see:saw take:took write:wrote eat:ate drink:drank run:ran sing:sang buy:bought bring:brought teach:taught "
    "think:thought catch:caught feel:felt leave:left keep:kept send:sent build:built lose:lost find:found hold:held stand:stood "
    "speak:spoke break:broke choose:chose drive:drove ride:rode rise:rose fly:flew grow:grew".split()
)
PLURALS = dict(
    pair.split(":")
    for pair in "child:children mouse:mice foot:feet tooth:teeth goose:geese man:men woman:women leaf:leaves knife:knives wife:wives "
    "box:boxes bus:buses city:cities baby:babies lady:ladies dish:dishes potato:potatoes hero:heroes wolf:wolves shelf:shelves "
    "loaf:loaves story:stories berry:berries church:churches watch:watches".split()
)
WORDS = (
    "river stone apple window garden summer winter candle bridge market silver forest island orange pencil planet rabbit school "
    "thunder valley yellow basket castle dragon engine flower guitar hammer jacket kitten ladder mirror needle ocean palace"
).split()
NAMES = "Anna Boris Clara David Elena Felix Grace Hugo Irene Jonas Karin Leo Maria Nina Oscar Paula".split()
FOREIGN = (
    "Der Zug kommt heute eine Stunde später an, weil auf der Strecke gebaut wird.",
    "Am Abend gehen wir gern am Fluss spazieren und sehen den Booten zu.",
    "Meine Großmutter backt jeden Sonntag einen Kuchen mit Äpfeln und Zimt.",
    "Das Fenster im Flur schließt nicht mehr richtig, seit es so kalt ist.",
    "Nous avons passé tout l'été au bord de la mer avec nos cousins.",
    "Le boulanger du village ouvre sa boutique avant le lever du soleil.",
    "Il faut arroser les tomates deux fois par semaine quand il fait chaud.",
    "La bibliothèque est fermée le lundi, mais on peut rendre les livres.",
    "El perro de mi vecino ladra cada vez que pasa el cartero.",
    "Mañana compraremos pan, leche y un poco de queso en el mercado.",
    "La lluvia no paró en toda la noche y las calles amanecieron mojadas.",
    "Mi hermana estudia medicina en una ciudad muy lejos de aquí.",
    "Il gatto dorme sul divano mentre fuori soffia un vento freddo.",
    "Domani prenderemo il treno delle otto per andare in montagna.",
    "Huomenna menemme metsään keräämään mustikoita ja sieniä.",
    "Kissa nukkuu ikkunalaudalla, kun ulkona sataa lunta.",
)


def row(instruction, output, given=""):
    return {"instruction": instruction, "input": given, "output": output}


def seed_rows():
    """One row for each shipped seed: its first instance."""
    rows = []
    for line in SEEDS.read_text().splitlines():
        task = json.loads(line)
        first = task["instances"][0]
        rows.append(row(task["instruction"], first["output"], first["input"]))
    return rows


def skills(rng):
    """A row of each simple skill."""
    country, word, verb, noun = (rng.choice(list(of)) for of in (CAPITALS, OPPOSITES, PASTS, PLURALS))
    a, b = rng.randrange(11, 90), rng.randrange(11, 90)
    some = rng.sample(WORDS, 4)
    who, other = rng.sample(NAMES, 2)
    yield row(f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}.")
    yield row(f"Give the opposite of the word '{word}'.", f"The opposite of {word} is {OPPOSITES[word]}.")
    yield row(f"What is the past tense of '{verb}'?", f"The past tense of {verb} is {PASTS[verb]}.")
    yield row(f"Write the plural of '{noun}'.", f"The plural of {noun} is {PLURALS[noun]}.")
    yield row(f"Add {a} and {b}.", f"{a} plus {b} is {a + b}.")
    yield row(f"Which is larger, {a} or {b}?", f"{max(a, b)} is larger than {min(a, b)}." if a != b else "They are equal.")
    yield row(f"Sort these words by the alphabet: {', '.join(some)}.", ", ".join(sorted(some)))
    yield row(f"Write these words in the opposite order: {' '.join(some)}.", " ".join(reversed(some)))
    yield row(f"How many letters has the word '{some[0]}'?", f"The word {some[0]} has {len(some[0])} letters.")
    yield row(f"Write in capital letters: {some[1]} {some[2]}", f"{some[1]} {some[2]}".upper())
    yield row(
        f"Who has the {some[3]}: {who} or {other}?",
        f"{who} has the {some[3]}.",
        f"{who} found a {some[3]} near the {some[0]}. {other} looked for it all day.",
    )
    yield row(
        f"Name the things that {who} buys for {other}.",
        f"{who} buys a {some[0]} and a {some[1]}.",
        f"Today {who} goes to town. There {who} buys a {some[0]} and a {some[1]} for {other}, and sells a {some[2]}.",
    )


def own_rows(count):
    """`count` rows of simple skills, no instruction twice, the same each time."""
    rng, rows, seen = random.Random(7), [], set()
    while len(rows) < count:
        for one in skills(rng):
            if one["instruction"] not in seen:
                seen.add(one["instruction"])
                rows.append(one)
    return rows[:count]


def spoil(rows, count, rng):
    """Spoils `count` of the rows, each kind as often as the others. They are marked by `spoilt`."""
    chosen = rng.sample(range(len(rows)), count)
    spoilt = [dict(one) for one in rows]
    for number, at in enumerate(chosen):
        kind, output = KINDS[number % len(KINDS)], rows[at]["output"]
        if kind == "shuffled" and len(set(output.split())) < 3:
            # Nothing to shuffle in an answer of one word.
            kind = "wrong"
        if kind == "wrong":
            others = [one["output"] for one in rows if one["output"] != output]
            answer = rng.choice(others)
        elif kind == "shuffled":
            answer = output
            while answer == output or answer.split() == output.split():
                answer = " ".join(rng.sample(output.split(), len(output.split())))
        else:
            answer = " ".join(rng.sample(FOREIGN, 1 + (len(output) > 120)))
        spoilt[at] |= {"output": answer, "spoilt": kind}
    return spoilt
