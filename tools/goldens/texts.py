"""Prompts that tokenizers have been wrong about."""

SHORT = (
    "",
    " ",
    "a robot",
    "A Red Apple, next to a BLUE guitar!",
    "  leading,   inner \t and trailing whitespace \n\r\n ",
    "no-break\u00a0space, em\u2003space, zero\u200bwidth, line\u2028separator, ideographic\u3000space",
    "it's don't we're I've I'm you'll he'd 's 'S 'RE o'clock rock'n'roll \u2019s",
    "'s't're've'm'll'd",
    "1 22 333 4096x4096 3.14159 1e-5 50% \u00bd \u00b2 \u2167 \u0664\u0665 \u4e94",
    "masterpiece, (best quality:1.3), [[ugly]], {a|b}, <lora:x:0.8>, BREAK, \\(escaped\\)",
    "<|endoftext|>",
    "<|startoftext|>a cat<|endoftext|>",
    "a<|endoftext|>b <|ENDOFTEXT|> <|StartOfText|>",
    "< |endoftext| > <|endoftext| |endoftext|>",
    "<pad> <unk> [MASK] </w> a</w>",
    "! !! !!! !!!!!!!!!! ?! ... \u2026 -- \u2014 ~~~ @#$%^&*()",
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\path\\file.txt",
    "na\u00efve caf\u00e9 \u00c5ngstr\u00f6m stra\u00dfe STRASSE \u1e9e \u0130stanbul \u0131 \ufb01ne \u01c4",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "nai\u0308ve cafe\u0301 A\u030angstro\u0308m \u1e9b\u0323 \u0344 q\u0307\u0323",
    "\u041a\u0440\u0430\u0441\u043d\u044b\u0439 \u0434\u0440\u0430\u043a\u043e\u043d \u0443 \u0440\u0435\u043a\u0438",
    "\u4e00\u53ea\u53ef\u7231\u7684\u732b \u8d64\u3044\u308a\u3093\u3054 \u30ed\u30dc\u30c3\u30c8",
    "\ube68\uac04 \uc0ac\uacfc",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \uff21\uff22\uff23 \u30ac \u30ab\u3099",
    "\u0642\u0637\u0629 \u062d\u0645\u0631\u0627\u0621 \u05d7\u05ea\u05d5\u05dc \u05d0\u05d3\u05d5\u05dd",
    "\u0932\u093e\u0932 \u0938\u0947\u092c \u0e41\u0e21\u0e27\u0e2a\u0e35\u0e41\u0e14\u0e07",
    "\u0b85\u0b95\u0bcd\u0b95\u0bbe",
    "\U0001f916 \U0001f34e\U0001f3b8 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f \u263a \U0001fae0",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 1\ufe0f\u20e3",
    "\U0001d4d0 \U0001d518\U0001d52b\U0001d526 \U00020bb7 \U0002f81a \U000103a0",
    "\x00 null \x01\x02 \x07 bell \x1b[31mred\x1b[0m \x7f \x85 next \x9f",
    "\ufeffbom \ufffd replacement \ufffe \uffff \U0010ffff \ue000 private",
    "\u202eright-to-left override\u202c \u200f\u200e marks \u2066isolate\u2069",
    "a\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a\u030b\u030c zalgo",
    "don\u2019t \u201cquote\u201d \u00abguillemets\u00bb \u300c\u9264\u300d",
    "e=mc\u00b2 \u2211\u222b\u221a\u221e \u2260 \u2264 \u03c0 \u00b5 \u03bc \u2126 \u212b \u212a",
    "AAAAAAAAAAaaaaaaaaaaAAAAAAAAAAaaaaaaaaaa",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 300,
)
# A text and how often it is repeated.
LONG = (
    ("a very detailed painting of a lighthouse in a storm, ", 40),
    ("\U0001f431", 120),
    ("\u732b\u3068\u72ac\u3002", 60),
    ("word ", 400),
    ("a1", 200),
    ("<|endoftext|> ", 50),
)


def texts() -> list[str]:
    """All of them."""
    return [*SHORT, *(text * times for text, times in LONG)]
