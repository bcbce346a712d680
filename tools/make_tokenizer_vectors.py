#!/usr/bin/env python3
"""Writes tests/data/tokenizers: texts, and their ids by Hugging Face `tokenizers`.

    pip install tokenizers sentencepiece
    tools/make_tokenizer_vectors.py

differential/lines.json    a list of texts: many scripts, emoji, code, control characters, seeded random mixtures
differential/*.json        small tokenizers trained or put together here, one for each kind of field
differential/*.ids.json    the ids of every text (no special tokens), and the decoded texts

families/lines.json        2,000 texts of the same kind, longer runs and words joined without spaces among them
families/*.json            small tokenizers with the fields that model families publish (tokenizer_families.py)
families/*.hashes          a line for each text: hashes of ids, without and with special tokens, and of texts, the other way
families/*.rows.json       every 80th text: what is hashed
families/pre/*.json        what GGUF files name in tokenizer.ggml.pre, as an object of tokenizer.json
families/pre/*.hashes      a line for each text: hash of its pieces
"""

import json
import pathlib
import random
import unicodedata

import tokenizer_families as families
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "data" / "tokenizers" / "differential"
GPT2 = ROOT / "tests" / "data" / "tokenizers" / "gpt2" / "tokenizer.json"

SCRIPTS = [
    "The quick brown fox jumps over the lazy dog. It's, we'll, I'd, they've; DON'T!",
    "Größe, façade, naïve, Ærøskøbing, Łódź, İstanbul, ßẞ, ŉ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΣΊΣΥΦΟΣ",
    "いろはにほへと ちりぬるを。カタカナ、漢字１２３",
    "视野无限广，窗外有蓝天。數字：一二三，４５６",
    "다람쥐 헌 쳇바퀴에 타고파. 한글은 ㅎㅏㄴㄱㅡㄹ",
    "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ ١٢٣",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण १२३",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ๑๒๓",
    "ဘာသာပြန် ខ្មែរ ລາວ བོད་ཡིག",
    "🚀🔥 👨‍👩‍👧‍👦 🏳️‍🌈 ✈️ 1️⃣ 🇩🇪🇯🇵 ☺️☹ 🤷🏽‍♀️",
    "x² + y₁ = ½ ≤ ∞ ∑ ⅷ Ⅻ ① 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ＦＵＬＬ ﬁ ﬀ Å Å",
    "e\u0301 o\u0308 n\u0303 a\u0323\u0302 \u1100\u1161\u11a8 \u0344 \u2126",
    "def f(x):\n\treturn {'a': x**2}  # comment\n\n\n    if x != 0x1F: pass\r\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 3.14e-10f; } // ok?",
    "https://example.org/a_b-c?d=1&e=%20#f user@example.com C:\\dir\\file.txt",
    "<|endoftext|> <s></s> <unk> <0x41> [MASK]<mask> <sep>x<sep> <|end|>",
    "   leading and trailing   ", "\t\ttabs\tand \n newlines\n\n", " ", "  ", "\n", "a", "", "\u00a0x\u00a0\u3000y",
    "\u0000\u0001\u001b[31m\u007f\u0085\u009f\u00ad\ufeff\u200b\u200c\u200d\u2060\u180e\ufffd",
    "\u2028\u2029\u202e\u2581\u2581a \u2581b", "1234567890 12 345 6,789.0 0b1010 ٣٤ ५६",
    "'s 'S 't 'T 're 'RE 'll'LL 'd'm 'ſ \u2019s it\u2019s", "!!!...---___***((()))[[]]{{}}~~~```$$$^^^|||",
    "MiXeD CaSe HTTPServer camelCase snake_case kebab-case SCREAMING_CASE",
    "\U0010ffff\U000e0001\ue000\uf8ff", "word\u0301\u0302\u0303\u0304 \u0301alone",
]


def texts():
    rng = random.Random(20261122)
    lines = list(SCRIPTS)
    pool = [c for line in SCRIPTS for c in line]
    words = [w for line in SCRIPTS for w in line.split(" ")]
    while len(lines) < 200:
        lines.append(" ".join(rng.choices(words, k=rng.randint(1, 9))))
    while len(lines) < 280:
        lines.append("".join(rng.choices(pool, k=rng.randint(1, 40))))
    spaces = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "a", "'", "1", ".", "é"]
    while len(lines) < 320:
        lines.append("".join(rng.choices(spaces, k=rng.randint(1, 12))))
    return lines


def train(tokenizer, alphabet=None, vocab_size=600, special=(), **options):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=alphabet or [], **options)
    tokenizer.train_from_iterator(SCRIPTS * 2, trainer)


def with_bytes(tokenizer):
    """The same tokenizer with byte tokens put before the rest of its vocabulary."""
    data = json.loads(tokenizer.to_str())
    kept = [t for t, _ in sorted(data["model"]["vocab"].items(), key=lambda e: e[1])]
    special = kept[:3]
    rest = [t for t in kept[3:]]
    names = special + [f"<0x{b:02X}>" for b in range(256)] + rest
    data["model"]["vocab"] = {t: i for i, t in enumerate(names)}
    data["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(data))


def sentencepiece_style():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    train(t, special=["<unk>", "<s>", "</s>"], limit_alphabet=120)
    t = with_bytes(t)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                     special_tokens=[("<s>", 1)])
    return t


def metaspace():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"),
                                               pre_tokenizers.Digits(individual_digits=True)])
    train(t, special=["<unk>", "<s>", "</s>"], limit_alphabet=150)
    t.add_tokens([AddedToken("<sep>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("fox", single_word=True, normalized=True)])
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    return t


def llama3_style():
    t = Tokenizer(models.BPE(ignore_merges=True))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, alphabet=pre_tokenizers.ByteLevel.alphabet(), special=["<s>", "<|end|>"])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                            processors.TemplateProcessing(single="<s> $A <|end|>",
                                                                          special_tokens=[("<s>", 0), ("<|end|>", 1)])])
    return t


def prefix_space():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\w+|^\S|\d$"), behavior="merged_with_next"),
        pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t.decoder = decoders.ByteLevel()
    train(t, alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.add_special_tokens([AddedToken("[MASK]", lstrip=True), AddedToken("<mask>", rstrip=True)])
    return t


def words_with_suffix():
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(),
                                         normalizers.Replace(Regex(r"[\p{Cc}\p{Cf}]+"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(),
                                               pre_tokenizers.Split("_", behavior="removed"),
                                               pre_tokenizers.Punctuation(behavior="contiguous")])
    train(t, special=["<unk>"], end_of_word_suffix="</w>", continuing_subword_prefix="##", limit_alphabet=150)
    t.decoder = decoders.BPEDecoder(suffix="</w>")
    return t


def word_level():
    t = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    t.normalizer = normalizers.NFKD()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Split(Regex(r"[^\w\s]"), behavior="merged_with_previous", invert=False),
        pre_tokenizers.Digits(individual_digits=False)])
    t.train_from_iterator(SCRIPTS, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))
    return t


KINDS = [sentencepiece_style, metaspace, llama3_style, prefix_space, words_with_suffix, word_level]


def mixed_lines():
    """2,000 texts. Words of all scripts with all kinds of space, joined, repeated, cut and with strange characters."""
    rng = random.Random(20261123)
    words = [w for line in SCRIPTS for w in line.split(" ") if w]
    pool = [c for line in SCRIPTS for c in line]
    code = ["if (a->b[i] >= 0x7f) {", "return x;  // done", "}", "\tself.value += 1", "SELECT * FROM t WHERE id=42;",
            "<div class=\"a\">text</div>", "#include <vector>", "x = {'k': [1, 2.5e-3, None]}", "$ ls -la | grep '^d'",
            "fn main() -> Result<(), E> {", "\\frac{a}{b} + \\alpha_{i}", "{\"id\": 17, \"ok\": true}"]
    spaces = [" "] * 12 + ["  ", "   ", "\n", "\r\n", "\n\n", "\t", "\u00a0", "\u2003", "\u3000", "", "", "\u200b", "\u200d"]
    marks = ["\u0301", "\u0308", "\u0323", "\u20dd", "\ufe0f", "\u200d", "\u093c", "\u0e31", "\u05b0", "\u3099"]
    tokens = ["</s>", "<s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|begin_of_text|>", "<|reserved_special_token_7|>",
              "<|assistant|>", "<|end|>", "<think>", "<bos>", "[INST]", "[/INST]", "[MASK]", "<h1>", "\u2581\u2581", "<0x0A>",
              "|||IP_ADDRESS|||", "<pad>", "``", "''", "<|reserved_special_token_", "<|im_"]
    lines = list(SCRIPTS) + code
    for c in (" ", "\n", "\r\n", "a", "1", "-", "\u2581", "é", "漢", "\U0001f600", "\u0301", "ab", "0 "):
        lines += [c * n for n in (3, 17, 64, 200)]
    lines += ["x" + c + "y" for c in map(chr, [*range(33), 0x7f, *range(0x80, 0xa1), 0xad, 0x61c, 0x180e, 0x2028, 0x2029,
                                              *range(0x200b, 0x2010), *range(0x2060, 0x2065), 0xfeff, 0xfff9, 0xfffd, 0xfffe])]
    while len(lines) < 1100:
        line = ""
        for _ in range(rng.randint(1, 12)):
            line += rng.choice(words) + rng.choice(spaces)
        lines.append(line)
    while len(lines) < 1400:  # numbers, code, tokens, case
        parts = [rng.choice([rng.choice(code), rng.choice(tokens), str(rng.randrange(10 ** rng.randint(1, 12))),
                             rng.choice(words).upper(), rng.choice(words).title(), rng.choice(words)]) for _ in range(6)]
        lines.append("".join(p + rng.choice(spaces) for p in parts))
    while len(lines) < 1600:  # marks
        lines.append("".join(c + rng.choice(marks) * rng.choice([0, 0, 1, 2]) for c in rng.choices(pool, k=12)))
    while len(lines) < 1900:
        lines.append("".join(rng.choices(pool, k=rng.randint(1, 40))))
    while len(lines) < 2000:  # any characters, of those that Unicode had by version 8: later ones differ between tables
        kept = [c for c in (chr(rng.choice([rng.randrange(0x20, 0x3000), rng.randrange(0x3000, 0xd800)]))
                            for _ in range(60)) if unicodedata.ucd_3_2_0.category(c) != "Cn"]
        lines.append("".join(kept[:20]))
    return lines


def hash_of(text):
    """The upper 24 bits of FNV-1a of 32 bits."""
    value = 0x811c9dc5
    for byte in text.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * 0x01000193 & 0xffffffff
    return f"{value >> 8:06x}"


def write_families():
    folder = ROOT / "tests" / "data" / "tokenizers" / "families"
    (folder / "pre").mkdir(parents=True, exist_ok=True)
    lines = mixed_lines()
    (folder / "lines.json").write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")
    compact = lambda value: json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    join = lambda ids: " ".join(map(str, ids))
    for name, family in families.families().items():
        text = compact(families.build(family, lines)) + "\n"
        (folder / f"{name}.json").write_text(text)
        tokenizer = Tokenizer.from_str(text)
        left_out = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        hashes, rows = [], []
        for i, line in enumerate(lines):
            ids = tokenizer.encode(line, add_special_tokens=False).ids
            special = tokenizer.encode(line).ids
            # Version 0.23 leaves special tokens in the text if they differ from their normalized form.
            plain = [i for i in special if i not in left_out]
            decoded = [tokenizer.decode(some, skip_special_tokens=False) for some in (special, plain)]
            hashes.append(hash_of(join(ids) + "|" + join(special)) + " " + hash_of("|".join(decoded)))
            if i % 80 == 0:
                rows.append({"line": i, "ids": ids, "special": special, "text": decoded[0], "plain": decoded[1]})
        (folder / f"{name}.hashes").write_text("\n".join(hashes) + "\n")
        (folder / f"{name}.rows.json").write_text("[\n" + ",\n".join(map(compact, rows)) + "\n]\n")
    for name, pre_tokenizer in families.NAMED.items():
        (folder / "pre" / f"{name}.json").write_text(compact(pre_tokenizer) + "\n")
        tokenizer = Tokenizer.from_str(json.dumps({
            "version": "1.0", "pre_tokenizer": pre_tokenizer,
            "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}))
        pieces = [" ".join(p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(line)) for line in lines]
        (folder / "pre" / f"{name}.hashes").write_text("\n".join(map(hash_of, pieces)) + "\n")


def main():
    write_families()
    OUT.mkdir(parents=True, exist_ok=True)
    lines = texts()
    dump = lambda name, value: (OUT / name).write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")
    dump("lines.json", lines)
    made = [("gpt2", Tokenizer.from_file(str(GPT2)))]
    for kind in KINDS:
        tokenizer = kind()
        (OUT / f"{kind.__name__}.json").write_text(tokenizer.to_str() + "\n")
        made.append((kind.__name__, Tokenizer.from_file(str(OUT / f"{kind.__name__}.json"))))
    for name, tokenizer in made:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        rows = []
        for line in lines:
            ids = tokenizer.encode(line, add_special_tokens=False).ids
            rows.append({"ids": ids, "special": tokenizer.encode(line).ids,
                         "text": tokenizer.decode(ids, skip_special_tokens=False),
                         "plain": tokenizer.decode(ids, skip_special_tokens=True)})
        (OUT / f"{name}.ids.json").write_text(
            "[\n" + ",\n".join(json.dumps(r, ensure_ascii=True, separators=(",", ":")) for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
