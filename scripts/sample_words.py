"""Words and sentence frames of the bundled sample, all written for this project.

Whatever a list offers fits wherever its list is used; make_sample.py puts them together.
"""

from dataclasses import dataclass

Filler = tuple[str, ...]
"""One meaning, in one or several wordings."""


def _each(*lines: str) -> tuple[Filler, ...]:
    """Read fillers: a comma stands between two, a stroke between two wordings of one."""
    return tuple(tuple(filler.strip().split("|")) for line in lines for filler in line.split(","))


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(word.strip() for line in lines for word in line.split(","))


# Sentiment. Words and clauses by their valence, -2 to 2.

WORKS = _words(
    "the film, this movie, the play, this comedy, the thriller, this romance, the series, this remake",
    'the western, this sequel, the drama, this musical, "Harbour Lights", "The Salt Road", "A Quiet Debt"',
)
PARTS = _words(
    "the plot, the script, the ending, the dialogue, the pacing, the lead performance, the second half",
)
"""What the first clause speaks of, as part of a work."""
DETAILS = _words("the music, the story, the humour, the last act, the opening scene, the acting, the tone")
"""What the second clause speaks of."""
ADJECTIVES = {
    2: _words(
        "superb, brilliant, magnificent, stunning, masterful, unforgettable, dazzling, exquisite, breathtaking",
        "wonderful, flawless, extraordinary, a triumph, pure magic",
    ),
    1: _words(
        "good, pleasant, likeable, charming, enjoyable, engaging, solid, clever, sharp, amusing, worthwhile",
        "fresh, nice, a decent effort, well made",
    ),
    0: _words(
        "ordinary, average, conventional, unremarkable, standard, typical, passable, middling, acceptable",
        "routine, much as expected, neither here nor there, nothing new",
    ),
    -1: _words(
        "dull, weak, flat, clumsy, thin, tired, forgettable, uneven, bland, muddled, stale, disappointing",
        "laboured, slow, a letdown",
    ),
    -2: _words(
        "terrible, awful, dreadful, unbearable, horrible, atrocious, wretched, appalling, excruciating",
        "insufferable, abysmal, a disaster, an insult, utter rubbish",
    ),
}
CLAUSES = {
    2: _words(
        "I loved every minute of {}, {} left me speechless with joy, nobody should miss {}",
        "I could watch {} ten more times, {} deserves every prize there is, I adored {} from start to finish",
        "I have never laughed so hard as at {}",
    ),
    1: _words(
        "I had a good time with {}, {} held my attention, {} made me smile more than once",
        "{} is worth the price of a ticket, I would see {} again, {} grows on you, I quite liked {}",
    ),
    0: _words(
        "{} does its job and no more, I have no strong feelings about {}, {} will please some and bore others",
        "{} is much like all the others, I can take or leave {}, {} has its moments and its flaws",
        "{} neither moved nor annoyed me",
    ),
    -1: _words(
        "I lost interest in {} halfway through, {} left me cold, I expected more from {}, {} drags on too long",
        "{} never comes to life, there is little reason to see {}, I kept checking my watch during {}",
    ),
    -2: _words(
        "I hated every minute of {}, {} is a complete waste of an evening, I walked out of {} in disgust",
        "avoid {} at all costs, {} is painful to sit through, I want my money back after {}",
        "{} is the worst thing I have seen in years",
    ),
}
INTENSIFIERS = _words("really, remarkably, extremely, incredibly, exceptionally")
HEDGES = _words("at times, in places, now and then, very nearly")
NEGATIONS = _words("is not, is never, is hardly, is far from")
OPENERS = (*[""] * 9, "to be honest, ", "on the whole, ", "in my view, ")

# Pairs. A frame is a way to say something about its slots.


@dataclass(frozen=True, kw_only=True)
class Question:
    """One kind of question: every form asks the same, every other asks something else about the same."""

    forms: tuple[str, ...]
    others: tuple[str, ...] = ()
    slots: dict[str, tuple[Filler, ...]]
    swap: tuple[str, str] | None = None
    """Two slots which, exchanged, make another question."""
    everyday: bool
    """Everyday questions have duplicates far more often than narrow ones, as in real question pairs."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One kind of statement."""

    form: str
    slots: dict[str, tuple[Filler, ...]]
    """In falling importance, the optional ones last."""
    optional: tuple[str, ...]


CITIES = _each(
    "Lisbon, Oslo, Prague, Nairobi, Lima, Toronto, Seoul, Cairo, Dublin, Hanoi, Quito, Vienna, Athens, Mumbai"
)
DEVICES = _each("an iPhone, a Samsung phone, a Windows laptop, a Chromebook, an old tablet, a Mac")
LANGUAGES = _each("Python, Java, Rust, Go, Ruby, Kotlin, Swift, Haskell")
PARTIES = _each("a tenant, a landlord, an employer, a neighbour, a bank, a school, a supplier")
UNITS = _each("miles, kilometres, metres, yards, feet, inches, centimetres")

QUESTIONS = (
    Question(
        forms=(
            "How do I learn to {skill} {how}?",
            "What is the best way to learn to {skill} {how}?",
            "How can I teach myself to {skill} {how}?",
            "I want to learn to {skill} {how}, where do I start?",
        ),
        others=("How long does it take to learn to {skill} {how}?",),
        slots={
            "skill": _each(
                "play the guitar, play the piano, speak Italian, speak Japanese, draw faces|draw portraits, swim",
                "dance the tango, sew clothes|make clothes, write poems|write poetry, juggle, ski, sing, cook",
            ),
            "how": _each(
                "at home, on my own|without a teacher, for free|without paying, as an adult, in a month",
                "from scratch|as a beginner, after work|in the evenings, quickly|fast",
            ),
        },
        everyday=True,
    ),
    Question(
        forms=(
            "How can I improve my {ability} {when}?",
            "What can I do to make my {ability} better {when}?",
            "What are good ways to improve my {ability} {when}?",
            "Any advice on improving my {ability} {when}?",
        ),
        slots={
            "ability": _each(
                "handwriting, memory, posture, English|English skills, eyesight|vision, sleep, credit score",
                "singing voice, self confidence|self esteem, balance, diet|eating habits, concentration|focus",
            ),
            "when": _each(
                "quickly|fast, as a student|at college, at home, naturally|in a natural way, after fifty",
                "this year, every day|daily, without much effort|with little effort",
            ),
        },
        everyday=True,
    ),
    Question(
        forms=(
            "How do I get rid of {pest} in {room}?",
            "What is the best way to remove {pest} from {room}?",
            "How can I keep {pest} out of {room}?",
            "What kills {pest} in {room}?",
        ),
        others=("Why are there so many {pest} in {room}?",),
        slots={
            "pest": _each(
                "ants, mice, fruit flies|small flies, spiders, moths, cockroaches|roaches, wasps, fleas, bed bugs"
            ),
            "room": _each(
                "my kitchen|the kitchen, my garden|the back yard, my bedroom|the bedroom, my attic|the loft",
                "my garage|the garage, my car, my basement|the cellar, my office",
            ),
        },
        everyday=True,
    ),
    Question(
        forms=(
            "What does it feel like to {experience} {when}?",
            "How does it feel to {experience} {when}?",
            "What is it like to {experience} {when}?",
            "How would you describe it to {experience} {when}?",
        ),
        others=("Is it wise to {experience} {when}?",),
        slots={
            "experience": _each(
                "fall in love, lose a friend, live alone, become a parent, be famous, work at night, run a marathon",
                "fail an exam, travel alone, start a company|found a business, quit your job|leave your job",
            ),
            "when": _each(
                "at twenty, in your forties, in a foreign country|abroad, late in life|in old age",
                "for the first time, in a small town, as a student",
            ),
        },
        everyday=True,
    ),
    Question(
        forms=(
            "What are some good books about {topic} for {reader}?",
            "Which books on {topic} would you recommend to {reader}?",
            "What should {reader} read about {topic}?",
            "Which are the best books on {topic} for {reader}?",
        ),
        slots={
            "topic": _each(
                "history, the stock market|investing, cooking, space|astronomy, the brain|neuroscience, art",
                "leadership|leading people, physics, gardening, happiness, chess, the sea|the ocean",
            ),
            "reader": _each(
                "beginners|a beginner, children|a child, students|a student, experts|an expert",
                "teenagers|a teenager, busy people|a busy person",
            ),
        },
        everyday=True,
    ),
    Question(
        forms=(
            "Is {first} better than {second} for {purpose}?",
            "For {purpose}, does {first} beat {second}?",
            "Should I prefer {first} to {second} for {purpose}?",
            "Is {first} a wiser choice than {second} for {purpose}?",
        ),
        others=("Can I use {first} together with {second} for {purpose}?",),
        slots={
            "first": LANGUAGES,
            "second": LANGUAGES,
            "purpose": _each(
                "web development|building websites, games|game development, statistics|data analysis, robots",
                "a first job, phone apps|mobile apps",
            ),
        },
        swap=("first", "second"),
        everyday=False,
    ),
    Question(
        forms=(
            "How do I move my {files} from {source} to {target}?",
            "What is the easiest way to transfer {files} from {source} to {target}?",
            "How can {files} be copied from {source} to {target}?",
        ),
        slots={
            "files": _each("photos|pictures, contacts, music|songs, messages, notes, videos"),
            "source": DEVICES,
            "target": DEVICES,
        },
        swap=("source", "target"),
        everyday=False,
    ),
    Question(
        forms=(
            "How much does a {days} day trip to {city} cost?",
            "What would I pay for {days} days in {city}?",
            "How much money do I need for {days} days in {city}?",
        ),
        others=("What is there to see in {city} during {days} days?",),
        slots={
            "days": _each("two|2, three|3, five|5, seven|7, ten|10, twelve|12, twenty|20"),
            "city": CITIES,
        },
        everyday=False,
    ),
    Question(
        forms=(
            "How many {small} are there in {number} {large}?",
            "How do I convert {number} {large} to {small}?",
            "What is {number} {large} in {small}?",
        ),
        slots={"small": UNITS, "number": _each("two|2, six|6, 40, 75, 300, 1200"), "large": UNITS},
        swap=("small", "large"),
        everyday=False,
    ),
    Question(
        forms=(
            "Can {claimant} take {defendant} to court over {reason}?",
            "Is it possible for {claimant} to sue {defendant} over {reason}?",
            "May {claimant} start a lawsuit against {defendant} because of {reason}?",
        ),
        slots={
            "claimant": PARTIES,
            "defendant": PARTIES,
            "reason": _each("noise, unpaid bills, a broken contract, a flood|water damage, a rude letter"),
        },
        swap=("claimant", "defendant"),
        everyday=False,
    ),
    Question(
        forms=(
            "Why do so many {people} {feel} {thing} nowadays?",
            "What could make {people} {feel} {thing} these days?",
            "What makes {people} {feel} {thing} today?",
        ),
        slots={
            "people": _each(
                "teenagers|young people, doctors, teachers, farmers, old people|elderly people, Germans, Canadians"
            ),
            "feel": _each("like|enjoy, not like|not enjoy, talk about|discuss, not trust"),
            "thing": _each(
                "opera, electric cars, social media, fast food, team sports, online banking, horror films",
                "public transport|buses and trains, politics",
            ),
        },
        everyday=False,
    ),
)

PEOPLE = _each(
    "a man is|a guy is, a woman is|a lady is, a boy is|a little boy is, a girl is|a young girl is",
    "two children are|two kids are, an old man is|an elderly man is, three students are",
)
PLACES = _each(
    "in the park, in the kitchen, by the river|beside the river, near the station|close to the station",
    "in front of a school|outside a school, on the beach|at the beach, in a small room, behind the house",
)
MANNERS = _each("slowly, carefully|with care, in the rain, on a sunny day|in the sunshine, at night|after dark")
DAYS = _each("on Monday, on Friday, this week, today, overnight|during the night, at dawn")

SCENES = (
    Scene(
        form="{who} {does} {what} {where} {manner}",
        slots={
            "what": _each("a tomato, an onion, some bread|a loaf of bread, a potato, a fish, some mushrooms"),
            "does": _each("slicing|cutting up, peeling, frying|pan frying, washing|rinsing, eating"),
            "who": PEOPLE,
            "where": PLACES,
            "manner": MANNERS,
        },
        optional=("where", "manner"),
    ),
    Scene(
        form="{who} {does} {what} {where} {manner}",
        slots={
            "what": _each("a guitar, a violin|a fiddle, a flute, a piano, a drum, a trumpet"),
            "does": _each("playing, tuning, carrying, repairing|fixing, selling"),
            "who": PEOPLE,
            "where": PLACES,
            "manner": MANNERS,
        },
        optional=("where", "manner"),
    ),
    Scene(
        form="{who} {does} {what} {where} {manner}",
        slots={
            "what": _each("a bicycle|a bike, a car|an automobile, a boat, a cart, a motorcycle|a motorbike"),
            "does": _each("pushing, painting, repairing|fixing, washing|cleaning, photographing"),
            "who": PEOPLE,
            "where": PLACES,
            "manner": MANNERS,
        },
        optional=("where", "manner"),
    ),
    Scene(
        form="{who} {does} {what} {where} {manner}",
        slots={
            "what": _each("a cat, a sheep, a rabbit|a bunny, a goat, a duck, a child|a kid"),
            "does": _each("chasing|running after, watching|looking at, sleeping next to, barking at, following"),
            "who": _each("a dog is, a puppy is|a young dog is, two dogs are|a pair of dogs are, a fox is"),
            "where": PLACES,
            "manner": _each("quietly|silently, in the rain, on a sunny day|in the sunshine, at night|after dark"),
        },
        optional=("where", "manner"),
    ),
    Scene(
        form="{count} {harm} {event} near {city} {when}",
        slots={
            "event": _each("a bus crash|a bus accident, a fire, a flood, an explosion|a blast, a storm"),
            "harm": _each("injured in|hurt in, killed in|dead after, missing after, rescued after|saved after"),
            "city": CITIES,
            "count": _each("three people|3 people, nine people|9 people, dozens, two soldiers, four workers"),
            "when": DAYS,
        },
        optional=("when",),
    ),
    Scene(
        form="{who} {does} {plan} {when} {after}",
        slots={
            "plan": _each(
                "a tax on sugar|a sugar tax, a new bridge, cheaper train tickets|lower train fares",
                "a ban on fireworks|a fireworks ban, higher pensions, talks with unions|union talks",
            ),
            "does": _each("announces|unveils, rejects|turns down, delays|postpones, defends, calls for|demands"),
            "who": _each("the minister, the mayor, parliament, the opposition, a court, the president"),
            "when": DAYS,
            "after": _each("after a long debate, after protests|following protests, before the vote"),
        },
        optional=("when", "after"),
    ),
    Scene(
        form="shares of {who} {move} {amount} {when} {after}",
        slots={
            "who": _each("the airline, the bank, the car maker, the drug maker, the retailer, the brewery"),
            "move": _each("rise|climb, fall|drop, recover, swing"),
            "amount": _each("by two percent|by 2 percent, by nine percent|by 9 percent, slightly|a little, again"),
            "when": DAYS,
            "after": _each("after strong results, after a warning, on merger talk, as the chief leaves"),
        },
        optional=("when", "after"),
    ),
)
