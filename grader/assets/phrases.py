"""The vocabulary of the synthetic reviews. Changing a word here changes the data and asks for a new calibration."""

from typing import Final

# fmt: off
ASPECTS: Final = (
    "the acting", "the script", "the story", "the dialogue", "the photography", "the music", "the editing",
    "the pacing", "the direction", "the lead performance", "the supporting cast", "the humour", "the ending",
    "the first half", "the second half", "the costume work", "the set design", "the chemistry between the leads",
    "the villain", "the voice-over", "the romance", "the action", "the camera work", "the sound", "the central idea",
    "the mood", "the love scene", "the chase", "the final act", "the child actor",
)

POSITIVE: Final = (
    "superb", "gripping", "moving", "charming", "clever", "witty", "beautiful", "brilliant", "fresh", "heartfelt",
    "convincing", "delightful", "elegant", "engaging", "exciting", "funny", "graceful", "hilarious", "honest",
    "imaginative", "inspired", "intelligent", "lively", "lovely", "magical", "masterful", "memorable", "original",
    "outstanding", "perfect", "playful", "poetic", "powerful", "rewarding", "rich", "sensitive", "sharp", "smart",
    "splendid", "stunning", "subtle", "tense", "terrific", "thoughtful", "thrilling", "touching", "vivid", "warm",
    "wise", "wonderful",
)
NEGATIVE: Final = (
    "awful", "dull", "boring", "clumsy", "flat", "lazy", "predictable", "tedious", "wooden", "ugly", "absurd",
    "amateurish", "annoying", "atrocious", "bland", "cheap", "childish", "confused", "contrived", "crude", "dreadful",
    "dreary", "empty", "forced", "forgettable", "hollow", "horrible", "incoherent", "lame", "lifeless", "messy",
    "mediocre", "painful", "pathetic", "pointless", "poor", "pretentious", "ridiculous", "shallow", "silly", "sloppy",
    "slow", "stale", "stupid", "terrible", "tiresome", "trite", "uninspired", "weak", "worthless",
)
PRAISE_OR_BLAME: Final = (NEGATIVE, POSITIVE)  # by label

ADVERBS: Final = (
    "really", "truly", "rather", "quite", "simply", "consistently", "surprisingly", "at times", "mostly", "plainly",
)
LINKS: Final = (
    "And", "Also,", "To me,", "In fact,", "As for the rest,", "On top of that,", "Then again,", "Still,", "Besides,",
    "Say what you like,", "For what it is worth,", "Mind you,",
)

# `word` and `second` carry the judgement, `other` is a word of the opposite kind.
JUDGEMENTS: Final = (
    "{aspect} is {adverb} {word}",
    "{aspect} was {word} and {second}",
    "I found {aspect} {word}",
    "{aspect} feels {word} from start to finish",
    "{aspect} struck me as {adverb} {word}",
    "what stays with me is how {word} {aspect} is",
    "rarely have I seen anything where {aspect} is this {word}",
    "{aspect} is {word}, there is no better word for it",
    "my whole family thought {aspect} was {word}",
    "if you ask me, {aspect} is {word} and often {second}",
    "{aspect} could hardly be more {word}",
    "you will notice how {word} {aspect} is before the titles are over",
)
CONTRASTS: Final = (
    "{aspect} is not {other} at all",
    "{aspect} is far from {other}",
    "nobody could call {aspect} {other}",
    "{aspect} is anything but {other}",
    "I was told {aspect} would be {other}, but it is {word}",
    "some critics say that {aspect} is {other}, and I could not disagree more",
    "{aspect} never becomes {other}",
    "I expected {aspect} to be {other} and was wrong",
    "my neighbour called {aspect} {other}, which I do not understand",
    "where other films are {other}, {aspect} here is {word}",
    "{aspect} is {word}, although the trailer makes it look {other}",
    "it is hard to see why anyone finds {aspect} {other}",
    "unlike the {other} original, {aspect} is {word} this time",
    "there is nothing {other} about {aspect}",
    "{aspect} could have been {other}, yet it is not",
)

GENRES: Final = (
    "western", "thriller", "comedy", "drama", "musical", "war film", "horror film", "romance", "documentary",
    "crime story", "science fiction film", "family film", "biography", "road movie", "mystery", "costume drama",
)
OPENINGS: Final = (
    "I saw this {genre} on television last night",
    "this {genre} from {year} was the last thing my brother lent me",
    "a friend in {place} told me about this {genre}",
    "I have watched this {genre} twice now",
    "we rented this {genre} on a rainy weekend",
    "after reading the book I wanted to see the film of {year}",
    "this must be the tenth {genre} set in {place} that I have seen",
    "I came across this {genre} by accident",
    "the cinema was half full when I saw it",
    "I usually avoid any {genre}, and this is one",
    "it was shown at our film club, between a {genre} and a short cartoon",
    "{name} is the reason why I bought this {genre}",
)
NAMES: Final = (
    "Alma", "Bertil", "Carla", "Dmitri", "Elena", "Frank", "Greta", "Harold", "Irene", "Jonas", "Katya", "Lionel",
    "Marta", "Nils", "Olga", "Pablo", "Quentin", "Rosa", "Stefan", "Tilda", "Ursula", "Viktor", "Wanda", "Xavier",
    "Yusuf", "Zelda", "Captain Moore", "Doctor Lindqvist", "Aunt Harriet", "Mister Bell", "old Tom", "Sister Agnes",
)
ROLES: Final = (
    "a retired sailor", "a young widow", "a police officer", "a failed painter", "a schoolteacher", "a taxi driver",
    "a nurse", "a gambler", "a farmer's son", "a journalist", "a jazz pianist", "a private detective",
    "a soldier on leave", "a lonely clerk", "a thief", "a bride to be", "a chess champion", "a boxer", "a priest",
    "an astronaut", "an orphan", "an heiress", "a lighthouse keeper", "a baker",
)
PLACES: Final = (
    "Lisbon", "a mining town", "Chicago", "a village in the north", "Bombay", "occupied Paris", "Texas",
    "a boarding school", "the Arctic", "Buenos Aires", "a seaside hotel", "Berlin", "a space station",
    "rural Ireland", "Tokyo", "New Orleans", "a small island", "Vienna", "the desert", "Stockholm", "a hospital",
    "an old castle", "the suburbs", "a night train",
)
EVENTS: Final = (
    "inherits a house full of secrets", "loses everything in a flood", "falls in love with a stranger",
    "witnesses a murder", "finds a letter that was never sent", "has to raise a child alone",
    "joins a band of smugglers", "comes home from the war", "is accused of a robbery", "opens a restaurant",
    "searches for a missing sister", "wins a fortune at cards", "gets stuck in a lift with an enemy",
    "receives a visit from a ghost", "plans one last job", "learns to dance at sixty", "escapes from prison",
    "must choose between two suitors", "is bitten by a dog on the first page of the story", "marries the wrong twin",
    "survives a plane crash", "takes over a bankrupt circus", "is hunted by the secret police",
    "discovers an old friend's betrayal", "builds a boat in the garden", "is sent to guard a frozen lake",
)
PLOTS: Final = (
    "{name}, {role}, {event}",
    "the film follows {role} in {place} who {event}",
    "one day {name} {event}, and nothing is the same afterwards",
    "in {place}, {name} meets {friend}, {role}",
    "{name} plays {role} who {event}",
    "meanwhile {friend} {event}",
    "years later {name} returns to {place} as {role}",
    "the year is {year} and {name} {event}",
    "there is also {friend}, {role}, who {event}",
    "half of it takes place in {place}, the other half in {year}",
    "everything begins when {name} {event}",
    "I will not tell you whether {name} {event}",
)

VERDICT_WORDS: Final = (
    (
        "avoid it", "skip this one", "save your money", "spend the evening otherwise", "leave it on the shelf",
        "watch paint dry",
    ),
    (
        "see it", "watch it again", "tell your friends", "buy the disc", "give it an evening", "look out for it",
    ),
)
VERDICTS: Final = (
    (
        "all in all, {word}",
        "my advice for anyone who likes a {genre}: {word}",
        "it gets three points out of ten from me",
        "I want those two hours back",
        "I did not stay until the end",
        "I hoped for a good {genre} and did not get one",
        "if you have a choice, {word}",
        "I cannot think of a reason to recommend this {genre}",
    ),
    (
        "all in all, {word}",
        "my advice for anyone who likes a {genre}: {word}",
        "it gets eight points out of ten from me",
        "two hours were over before I knew it",
        "I stayed until the last name had rolled by",
        "I feared a bad {genre} and did not get one",
        "if you have a choice, {word}",
        "I cannot think of a reason to miss this {genre}",
    ),
)
# fmt: on
