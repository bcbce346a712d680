#!/usr/bin/env python3
"""Writes tests/data/tokenizers/differential: texts, and their ids by Hugging Face `tokenizers`.

    pip install tokenizers
    tools/make_tokenizer_vectors.py

lines.json     a list of texts: many scripts, emoji, code, control characters, seeded random mixtures
*.json         small tokenizers trained or put together here, one for each kind of field
*.ids.json     the ids of every text (no special tokens), and the decoded texts
"""

import json
import pathlib
import random

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


def main():
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
