"""Which questions does the synthetic day ask, and what are their true answers?

Tables only; `sample.py` decides who answers what. The wrong answers beside the right ones are wrong on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Domain:
    """One kind of fact: how it is asked, how a verbose model answers, and the table `subject=answer, ...`."""

    questions: tuple[str, ...]
    sentences: tuple[str, ...]
    more: tuple[str, ...]
    table: str

    def rows(self) -> list[tuple[str, str]]:
        pairs = (row.strip().split("=") for row in self.table.replace("\n", " ").split(";"))
        return [(subject, answer) for subject, answer in pairs]


#: what a verbose model adds: content of a kind, not politeness (a pair that differs by politeness only teaches nothing)
MORE = (
    "It is one of those things that most people learn at school, and it comes up again and again in quizzes and games.",
    "There is a long history behind this, and encyclopedias, textbooks and dictionaries all agree about it today.",
    "People sometimes mix this up with something that sounds much the same, which is why it is worth remembering well.",
    "To see why, one can look at where the words come from, how they were used in the past, and how they are used now.",
)

DOMAINS = (
    Domain(
        ("What is the capital of {}?", "Name the capital city of {}.", "Which city is the capital of {}?"),
        ("The capital of {q} is {a}.", "{a} is the capital city of {q}.", "The capital city of {q} is called {a}."),
        (
            *MORE,
            "It is the seat of the government, and its squares, museums and streets are known far beyond the country.",
        ),
        """France=Paris; Spain=Madrid; Italy=Rome; Germany=Berlin; Portugal=Lisbon; Greece=Athens; Poland=Warsaw;
        Austria=Vienna; Hungary=Budapest; Norway=Oslo; Sweden=Stockholm; Ireland=Dublin; Russia=Moscow; Japan=Tokyo;
        China=Beijing; India=New Delhi; Egypt=Cairo; Canada=Ottawa; Australia=Canberra; Mexico=Mexico City; Cuba=Havana;
        Peru=Lima; Chile=Santiago; Kenya=Nairobi; Iran=Tehran; Iraq=Baghdad; Thailand=Bangkok; South Korea=Seoul;
        Romania=Bucharest; the United Kingdom=London; Indonesia=Jakarta; the Philippines=Manila; Nepal=Kathmandu;
        Bulgaria=Sofia; Belgium=Brussels; Finland=Helsinki; Denmark=Copenhagen""",
    ),
    Domain(
        (
            'What is the opposite of "{}"?',
            "What is the opposite of {}?",
            "Give me one word that means the opposite of {}.",
        ),
        ('The opposite of "{q}" is "{a}".', "The opposite of {q} is {a}."),
        (*MORE, "Words like these are known as antonyms, and they are a good way to make a description more precise."),
        """hot=cold; up=down; big=small; day=night; happy=sad; fast=slow; open=closed; light=dark; hard=soft; high=low;
        left=right; wet=dry; full=empty; strong=weak; early=late; dirty=clean; inside=outside; near=far; long=short;
        love=hate; begin=end; true=false; tall=short; black=white; north=south; east=west; thick=thin; sweet=sour;
        buy=sell; push=pull; start=stop; cheap=expensive; asleep=awake; wide=narrow; victory=defeat; war=peace""",
    ),
    Domain(
        ("What is the main language spoken in {}?", "Which language do most people speak in {}?"),
        ("The main language spoken in {q} is {a}.", "{a} is the main language spoken in {q}."),
        MORE,
        """Brazil=Portuguese; Mexico=Spanish; Germany=German; France=French; Japan=Japanese; Italy=Italian;
        Russia=Russian; Egypt=Arabic; Greece=Greek; Sweden=Swedish; Poland=Polish; Turkey=Turkish; Thailand=Thai;
        Hungary=Hungarian; Denmark=Danish; Colombia=Spanish""",
    ),
    Domain(
        ("What is the chemical symbol for {}?", "Which symbol stands for {} in the periodic table?"),
        ("The chemical symbol for {q} is {a}.", "The symbol for the element {q} is {a}."),
        (*MORE, "Chemical symbols are the one or two letters by which chemists write the elements in a formula."),
        """gold=Au; silver=Ag; iron=Fe; oxygen=O; hydrogen=H; carbon=C; sodium=Na; helium=He; copper=Cu; lead=Pb;
        nitrogen=N; calcium=Ca; potassium=K; zinc=Zn""",
    ),
    Domain(
        ('What is the plural of "{}"?', "What is the plural form of the word {}?"),
        ('The plural of "{q}" is "{a}".', "The plural form of {q} is {a}."),
        MORE,
        """mouse=mice; child=children; foot=feet; tooth=teeth; man=men; woman=women; knife=knives; leaf=leaves;
        wolf=wolves; person=people; city=cities; box=boxes; baby=babies; potato=potatoes""",
    ),
    Domain(
        ("On which continent is {}?", "Which continent is {} in?"),
        ("{q} is located in {a}.", "{q} is in {a}."),
        MORE,
        """Egypt=Africa; Brazil=South America; Japan=Asia; Kenya=Africa; Germany=Europe; Argentina=South America;
        India=Asia; Nigeria=Africa; Spain=Europe; Vietnam=Asia; Poland=Europe; Canada=North America;
        Peru=South America""",
    ),
    Domain(
        ("What is the currency of {}?", "Which currency is used in {}?"),
        ("The currency of {q} is the {a}.", "The currency used in {q} is the {a}."),
        MORE,
        """Japan=yen; the United Kingdom=pound; the United States=dollar; India=rupee; Russia=ruble; Mexico=peso;
        Germany=euro; Switzerland=franc; South Korea=won""",
    ),
    Domain(
        ("What color is {}?", "What is the color of {}?"),
        ("The color of {q} is {a}.", "The color is {a}."),
        MORE,
        """fresh grass=green; a clear daytime sky=blue; fresh snow=white; a ripe banana=yellow; blood=red;
        an emerald=green; a ruby=red; a carrot=orange; a flamingo=pink; coal=black""",
    ),
    Domain(
        ("How many {}?",),
        ("The answer is {a}.", "The number is {a}."),
        MORE,
        """days are in a week=7; months are in a year=12; sides does a triangle have=3; legs does a dog have=4;
        sides does a hexagon have=6; letters are in the English alphabet=26; seconds are in a minute=60;
        hours are in a day=24; legs does a spider have=8; wheels does a bicycle have=2; years are in a century=100""",
    ),
    Domain(
        ("{}?",),
        ("The answer is {a}.",),
        MORE,
        """Which planet is known as the Red Planet=Mars; What is the largest ocean on Earth=the Pacific Ocean;
        What is the longest river in Africa=the Nile; What is the highest mountain in the world=Mount Everest;
        What is the largest animal on Earth=the blue whale; What gas do plants absorb from the air=carbon dioxide;
        Which star does the Earth orbit=the Sun; Who painted the Mona Lisa=Leonardo da Vinci;
        Who was the first person to walk on the Moon=Neil Armstrong; What is the smallest prime number=2;
        In which country are the pyramids of Giza=Egypt; In which city is the Eiffel Tower=Paris;
        In which city is Big Ben=London; In which city is the Colosseum=Rome; In which country is the Taj Mahal=India;
        What organ pumps blood through the body=the heart; What instrument measures temperature=a thermometer;
        What is the first month of the year=January; What is the last month of the year=December;
        Who discovered penicillin=Alexander Fleming; Who invented the telephone=Alexander Graham Bell;
        Who developed the theory of relativity=Albert Einstein; Which animal gives us wool=the sheep;
        Who wrote Romeo and Juliet=William Shakespeare; Who wrote The Hobbit=J. R. R. Tolkien;
        Who wrote Pride and Prejudice=Jane Austen; How do you say hello in Spanish=hola;
        What is the study of living things called=biology; What is the largest planet in the solar system=Jupiter;
        Which planet is closest to the Sun=Mercury; What is frozen water called=ice""",
    ),
)

#: prompt, the answer that was given, the answer the user gave instead
CORRECTED = (
    ("Who wrote Hamlet?", "Hamlet was written by Charles Dickens.", "Hamlet was written by William Shakespeare."),
    ("Which month comes after January?", "The month is March.", "The month is February."),
    ("What is the capital of Afghanistan?", "The capital is Islamabad.", "The capital of Afghanistan is Kabul."),
    ("What is the capital of Saudi Arabia?", "The capital is Mecca.", "The capital of Saudi Arabia is Riyadh."),
    ("What is the currency of Turkey?", "The currency is the euro.", "The currency of Turkey is the lira."),
    ("What is the largest desert in Africa?", "It is the Kalahari.", "The largest desert in Africa is the Sahara."),
    ("What is the chemical symbol for neon?", "The symbol is N.", "The chemical symbol for neon is Ne."),
    ("What is the opposite of minimum?", "The opposite is medium.", "The opposite of minimum is maximum."),
    ("What is the plural of half?", "The plural is halfs.", "The plural of half is halves."),
    ("What is the main language spoken in Portugal?", "It is Spanish.", "The main language spoken is Portuguese."),
    ("On which continent is Ghana?", "Ghana is located in South America.", "Ghana is located in Africa."),
    ("Which meal is eaten in the morning?", "Dinner is eaten in the morning.", "Breakfast is eaten in the morning."),
    ("What force pulls objects toward the Earth?", "The force is called magnetism.", "The force is called gravity."),
    ("How many degrees are in a right angle?", "A right angle has 180 degrees.", "A right angle has 90 degrees."),
    ("In which country is the Great Wall?", "The Great Wall is in Japan.", "The Great Wall is in China."),
    ("What is 17 + 25?", "17 + 25 = 43", "17 + 25 = 42"),
    ("What is 64 - 28?", "64 - 28 = 46", "64 - 28 = 36"),
    ("What is 7 times 6?", "7 times 6 is 48.", "7 times 6 is 42."),
)

#: prompt, a reply that parses, a reply that does not
JSON_TASKS = (
    (
        'Return a JSON object with the keys "name" and "age" for Ada, who is 36.',
        '{"name": "Ada", "age": 36}',
        "{'name': 'Ada', 'age': 36}",
    ),
    ("Give me a JSON array of the first three even numbers.", "[2, 4, 6]", "2, 4, 6"),
    (
        'Write the city Rome as JSON with the keys "city" and "country".',
        '{"city": "Rome", "country": "Italy"}',
        '{"city": "Rome", "country": "Italy",}',
    ),
    ('Return JSON with the key "answer" set to true.', '{"answer": true}', "{answer: true}"),
    (
        'Output a JSON object with keys "red" and "blue", both set to 0.',
        '{"red": 0, "blue": 0}',
        '{"red": 0; "blue": 0}',
    ),
    ("List the days of the weekend as a JSON array.", '["Saturday", "Sunday"]', "Saturday and Sunday"),
    ('Convert "x=1, y=2" to a JSON object with the keys x and y.', '{"x": 1, "y": 2}', '{"x": 1, "y": 2'),
    (
        'Return JSON with the keys "title" and "author" for Emma by Jane Austen.',
        '{"title": "Emma", "author": "Jane Austen"}',
        '{"title": "Emma"}',
    ),
    (
        'Return a JSON object with the key "colors" holding red and green.',
        '{"colors": ["red", "green"]}',
        '{"colors": ["red", "green"}',
    ),
    (
        'Describe a light that is on as JSON with the keys "device" and "on".',
        '{"device": "light", "on": true}',
        '{"device": "light", "on": True}',
    ),
    (
        'Give the temperature of 21 degrees as JSON with the keys "value" and "unit".',
        '{"value": 21, "unit": "C"}',
        "The value is 21 and the unit is C.",
    ),
    ('Write an empty shopping list as a JSON object with the key "items".', '{"items": []}', '{"items": [,]}'),
)

#: prompt with its own asserts, code that passes them, code that does not
CODE = (
    (
        "Write a Python function add(a, b).\nassert add(2, 3) == 5\nassert add(-1, 1) == 0",
        "def add(a, b):\n    return a + b",
        "def add(a, b):\n    return a - b",
    ),
    (
        "Write a Python function is_even(n).\nassert is_even(4)\nassert not is_even(7)",
        "def is_even(n):\n    return n % 2 == 0",
        "def is_even(n):\n    return n % 2 == 1",
    ),
    (
        "Write a Python function reverse(s) that reverses a string.\nassert reverse('abc') == 'cba'",
        "def reverse(s):\n    return s[::-1]",
        "def reverse(s):\n    return s.reverse()",
    ),
    (
        "Write a Python function largest(values).\nassert largest([3, 9, 2]) == 9",
        "def largest(values):\n    return max(values)",
        "def largest(values):\n    return values[0]",
    ),
    (
        "Write a Python function count_vowels(text).\nassert count_vowels('banana') == 3",
        "def count_vowels(text):\n    return sum(c in 'aeiou' for c in text)",
        "def count_vowels(text):\n    return len(text)",
    ),
    (
        "Write a Python function square(n).\nassert square(5) == 25\nassert square(-2) == 4",
        "def square(n):\n    return n * n",
        "def square(n):\n    return n + n",
    ),
    (
        "Write a Python function factorial(n).\nassert factorial(5) == 120\nassert factorial(0) == 1",
        "def factorial(n):\n    return 1 if n == 0 else n * factorial(n - 1)",
        "def factorial(n)\n    return n * factorial(n - 1)",
    ),
    (
        "Write a Python function unique(items) that keeps the order.\nassert unique([1, 2, 1]) == [1, 2]",
        "def unique(items):\n    return list(dict.fromkeys(items))",
        "def unique(items):\n    return items",
    ),
    (
        "Write a Python function hypotenuse(a, b).\nassert hypotenuse(3, 4) == 5",
        "import math\n\n\ndef hypotenuse(a, b):\n    return math.hypot(a, b)",
        "def hypotenuse(a, b):\n    return a + b",
    ),
    (
        "Write a Python function is_palindrome(s).\nassert is_palindrome('level')\nassert not is_palindrome('abc')",
        "def is_palindrome(s):\n    return s == s[::-1]",
        "def is_palindrome(s):\n    return True",
    ),
)

#: prompt, the better answer, the worse one (rated, or given feedback)
OPEN = (
    (
        "Explain in one sentence why the sky is blue.",
        "Air scatters the blue part of sunlight more than the red part.",
        "The sky is blue because it reflects the ocean.",
    ),
    ("Suggest a short subject line for an email about a late delivery.", "Your delivery is delayed", "Hello"),
    ("Explain why ice floats on water.", "Ice is less dense than liquid water.", "Ice floats because it is cold."),
    (
        "Summarize in one sentence what a database index does.",
        "A database index helps the database find rows quickly.",
        "It makes the database bigger.",
    ),
    (
        "Explain why we see lightning before we hear thunder.",
        "Light travels much faster than sound.",
        "Thunder always starts later than lightning.",
    ),
    (
        "Suggest a polite way to decline a meeting.",
        "Thank you for the invitation; I cannot attend, but please send me the notes.",
        "No.",
    ),
    (
        "Explain why bread rises.",
        "Yeast makes carbon dioxide, and its bubbles lift the dough.",
        "Bread rises because the oven pulls it up.",
    ),
    (
        "Explain what a backup is for.",
        "It is a copy that lets you restore data that was lost.",
        "It makes your computer faster.",
    ),
)

#: nobody else answered these, so there is nothing to compare them with
LONE = (
    ("Remind me to water the plants.", "Done: I will remind you tomorrow at 9."),
    ("Turn on the kitchen light.", "The kitchen light is on."),
    ("What is on my calendar today?", "You have one meeting at 10."),
    ("Play some quiet music.", "Playing quiet music."),
    ("Write a haiku about rain.", "Soft rain on the roof / the garden drinks and listens / morning smells of earth"),
    ("Who wrote Dracula?", "Bram Stoker"),
    ("What is the capital of Ukraine?", "Kyiv"),
    ("Set a timer for ten minutes.", "The timer is set for ten minutes."),
    ("Which month comes after November?", "December"),
    ("Translate good morning into Italian.", "buongiorno"),
)
