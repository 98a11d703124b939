"""Word pools and general text for the demo study. Everything here is generated; no outside text is used."""

NOUNS = """apple river stone lamp table garden window bridge candle basket bottle button carpet castle circle cloud copper
corner cotton desert dragon engine feather finger forest galaxy hammer harbor island jacket kettle ladder lemon letter
market meadow mirror monkey needle ocean orange palace paper pencil pepper pillow planet pocket rabbit ribbon rocket
saddle school shadow silver spider spring square summer sunset temple ticket tiger tower tunnel turtle valley velvet
violin wagon walnut winter yellow zebra anchor barrel beetle branch camel cherry dinner eagle falcon ginger helmet
ivory jungle kitten lizard magnet napkin oyster parrot quartz rattle salmon timber umbrella vessel willow""".split()

VERBS = """find get pick take make build check count list scan read sort join mark fold weigh trim gather select merge
filter compute process handle reduce split select label rank score""".split()

THINGS = """items values numbers parts pieces result total score answer data list words letters terms entries cells rows
pairs steps code names level group match record signal report index limit range shape""".split()

LABELS = """low high small large big tiny red green blue cold warm hot slow fast early late left right near far open
shut good bad thin thick light dark young old rich poor full empty first last north south east west up down in out
yes no rare common soft hard wet dry calm wild short tall""".split()


def invented(rng):
    """A word nobody has seen: two or three made-up syllables."""
    parts = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") + rng.choice(["", "", "n", "x", "r"])
             for _ in range(rng.choice([2, 2, 3]))]
    return "".join(parts)


def word(rng, rare=0.15):
    r = rng.random()
    if r < rare:
        return invented(rng)
    return rng.choice(LABELS) if r < 0.6 else rng.choice(NOUNS)


def function_name(rng):
    r = rng.random()
    if r < 0.6:
        return rng.choice(VERBS) + "_" + rng.choice(THINGS)
    if r < 0.85:
        return rng.choice(NOUNS) + "_" + rng.choice(THINGS)
    return invented(rng) + "_" + rng.choice(THINGS)


PEOPLE = "Anna Boris Clara David Elena Felix Greta Henry Irene Jonas Karin Lukas Maria Nadia Oscar Paula Rosa Simon Tilda Viktor".split()
PLACES = "the harbor,the old mill,the market,the school,a small village,the station,the north gate,the library,the lake,the bakery".split(",")
ADJECTIVES = "old small quiet bright heavy broken clean wooden strange narrow simple careful empty golden grey sudden".split()
ACTIONS = "carried,sold,found,painted,lost,cleaned,repaired,wrapped,borrowed,counted,dropped,opened,measured,hid".split(",")
TIMES = "In the morning,After lunch,Before dawn,Late in the evening,On Monday,Last winter,Every spring,Once,That night,Two days later".split(",")
SKY = "rain,light snow,clear sky,fog,strong wind,thunder,a warm breeze,frost,heavy clouds".split(",")


def _story(r):
    p, q = r.sample(PEOPLE, 2)
    s = [f"{r.choice(TIMES)} {p} {r.choice(ACTIONS)} a {r.choice(ADJECTIVES)} {r.choice(NOUNS)} near {r.choice(PLACES)}."]
    for _ in range(r.randint(2, 5)):
        s.append(r.choice([
            f"{q} said that the {r.choice(NOUNS)} was too {r.choice(ADJECTIVES)} for {r.choice(PLACES)}.",
            f"Nobody knew why {p} {r.choice(ACTIONS)} the {r.choice(NOUNS)}.",
            f"The {r.choice(NOUNS)} stood beside {r.choice(PLACES)}, and {q} waited there for {r.randint(2, 40)} minutes.",
            f'"Where is my {r.choice(NOUNS)}?" asked {q}.',
            f"{r.choice(TIMES)} they walked to {r.choice(PLACES)} with a {r.choice(NOUNS)} and a {r.choice(NOUNS)}.",
            f"It was a {r.choice(ADJECTIVES)} day, and the {r.choice(NOUNS)} looked {r.choice(ADJECTIVES)}."]))
    return " ".join(s)


def _weather(r):
    return " ".join(f"{d}: {r.choice(SKY)}, {r.randint(-9, 31)} degrees, later {r.choice(SKY)} in the {r.choice(['north', 'south', 'east', 'west'])}."
                    for d in r.sample("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(), r.randint(3, 5)))


def _recipe(r):
    lines = [f"{r.choice(ADJECTIVES).capitalize()} {r.choice(NOUNS)} soup"]
    lines += [f"- {r.randint(1, 9)} {r.choice(['cups', 'spoons', 'pieces', 'slices'])} of {r.choice(NOUNS)}" for _ in range(r.randint(2, 4))]
    lines += [f"Cook for {r.randint(5, 90)} minutes, stir {r.choice(['slowly', 'twice', 'often'])}, then add the {r.choice(NOUNS)}."]
    return "\n".join(lines)


def _letter(r):
    return (f"Dear {r.choice(PEOPLE)},\n\nthank you for the {r.choice(ADJECTIVES)} {r.choice(NOUNS)}. We had {r.choice(SKY)} at "
            f"{r.choice(PLACES)}, and {r.choice(PEOPLE)} {r.choice(ACTIONS)} the {r.choice(NOUNS)} again. Please write before "
            f"{r.choice(['March', 'June', 'October', 'the holidays'])}.\n\nYours,\n{r.choice(PEOPLE)}")


def _log(r):
    return "\n".join(f"2{r.randint(0, 3)}:{r.randint(10, 59)}:{r.randint(10, 59)} {r.choice(['INFO', 'WARN', 'ERROR'])} "
                     f"{r.choice(NOUNS)}: {r.choice(['started', 'stopped', 'read ' + str(r.randint(1, 900)) + ' bytes', 'no answer', 'retry ' + str(r.randint(1, 9))])}"
                     for _ in range(r.randint(3, 7)))


def _ledger(r):
    return "\n".join(f"{r.choice(PEOPLE)},{r.choice(NOUNS)},{r.randint(1, 60)},{r.randint(1, 99)}.{r.randint(10, 99)}" for _ in range(r.randint(4, 8)))


def _class(r):
    a, b = r.sample(NOUNS, 2)
    return (f"class {a.capitalize()}:\n    \"\"\"A {a} with a {b}.\"\"\"\n\n    def __init__(self, {b}):\n        self.{b} = {b}\n\n"
            f"    def {r.choice(VERBS)}(self):\n        return self.{b} {r.choice('+-*')} {r.randint(1, 50)}\n")


def _question(r):
    a, b, c = r.randint(1, 60), r.randint(1, 60), r.choice(NOUNS)
    return (f"Question: {r.choice(PEOPLE)} has {a} {c}s and gets {b} more. How many {c}s are there?\nAnswer: There are {a + b} {c}s.")


def _facts(r):
    return " ".join(f"A {r.choice(NOUNS)} is {r.choice(['larger', 'older', 'lighter', 'rarer', 'colder'])} than a {r.choice(NOUNS)}" +
                    r.choice([".", f", but not always.", f", as {r.choice(PEOPLE)} wrote.", f" in {r.choice(PLACES)}."]) for _ in range(r.randint(3, 6)))


def _route(r):
    return " ".join(["Start at " + r.choice(PLACES) + "."] +
                    [f"{r.choice(['Turn left', 'Turn right', 'Go straight on'])} at the {r.choice(ADJECTIVES)} {r.choice(NOUNS)} and walk {r.randint(2, 90) * 10} steps." for _ in range(r.randint(2, 5))])


GENRES = [_story, _story, _story, _weather, _recipe, _letter, _log, _ledger, _class, _question, _facts, _route]


def general_text(rng):
    return rng.choice(GENRES)(rng)
