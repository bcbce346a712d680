"""Small tokenizers with the normalizer, pre-tokenizer, post-processor, decoder and added tokens that model families
publish in tokenizer.json; models trained on the lines of the test. Used by make_tokenizer_vectors.py."""

import base64
import collections
import io
import json
import math
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
             "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
           r"|\s+(?!\S)|\s+")
SEED = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
EXAONE_MOE = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+")


def split(pattern, behavior="Isolated", kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": False}


def byte_level(use_regex=False, prefix=False, trim=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": use_regex}


def sequence(*members):
    return {"type": "Sequence", "pretokenizers": list(members)}


def normalizers(*members):
    return {"type": "Sequence", "normalizers": list(members)}


DIGITS = {"type": "Digits", "individual_digits": True}
WITHOUT_REGEX = byte_level()

# What GGUF files name in tokenizer.ggml.pre, as the models' own files have it.
NAMED = {
    "gpt-2": byte_level(True),
    "smollm": sequence(DIGITS, byte_level(True)),
    "llama-bpe": sequence(split(CL100K), WITHOUT_REGEX),
    "dbrx": sequence(split(CL100K), WITHOUT_REGEX),
    "qwen2": sequence(split(QWEN2), WITHOUT_REGEX),
    "qwen35": sequence(split(QWEN35), WITHOUT_REGEX),
    "tekken": sequence(split(TEKKEN), WITHOUT_REGEX),
    "gpt-4o": sequence(split(O200K), WITHOUT_REGEX),
    "deepseek-v3": sequence(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK3), WITHOUT_REGEX),
    "deepseek-coder": sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"),
                               DIGITS, WITHOUT_REGEX),
    "bailingmoe": sequence(split(BAILING), WITHOUT_REGEX),
    "seed-coder": sequence(split(SEED), WITHOUT_REGEX),
    "exaone-moe": sequence(split(EXAONE_MOE), WITHOUT_REGEX),
    "falcon": sequence({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(True),
                       {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")),
    "default": sequence(split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), {"type": "Digits", "individual_digits": False},
                        split("[0-9][0-9][0-9]"), WITHOUT_REGEX),
    "bloom": sequence(split(BLOOM), WITHOUT_REGEX),
    "viking": sequence(split(BLOOM), DIGITS, WITHOUT_REGEX),
}


def added(content, special=True, normalized=False, lstrip=False, rstrip=False, single_word=False):
    return {"content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": normalized, "special": special}


def template(before=(), after=()):
    names = list(before) + list(after)
    token = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    single = [token(n) for n in before] + [{"Sequence": {"id": "A", "type_id": 0}}] + [token(n) for n in after]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": names}  # ids are filled in later


SPACE_TO_SYMBOL = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
SYMBOL_TO_SPACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
LLAMA2_NORMALIZER = normalizers({"type": "Prepend", "prepend": "▁"}, SPACE_TO_SYMBOL)
LLAMA2_DECODER = {"type": "Sequence", "decoders": [SYMBOL_TO_SPACE, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                   {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
GEMMA_DECODER = {"type": "Sequence", "decoders": [SYMBOL_TO_SPACE, {"type": "ByteFallback"}, {"type": "Fuse"}]}
LLAMA2_TOKENS = [added("<unk>"), added("<s>"), added("</s>")]
# Older files look for them in normalized text.
OLD_LLAMA2_TOKENS = [added(t, normalized=True) for t in ("<unk>", "<s>", "</s>")]


def metaspace(scheme="always", split_words=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split_words}


def charsmap(**options):
    """The rules of a SentencePiece normalizer, in base 64: field 2 of field 3 of a model that it trains."""
    import sentencepiece
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["some words to count"] * 9), model_writer=model,
                                             model_type="char", vocab_size=20, hard_vocab_limit=False, minloglevel=2,
                                             **options)

    def number(data, at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    def field(data, wanted):
        at = 0
        while at < len(data):
            key, at = number(data, at)
            size = {5: 4, 1: 8}.get(key & 7, 0)
            if key & 7 == 0:
                _, at = number(data, at)
            elif key & 7 == 2:
                size, at = number(data, at)
            if key == wanted << 3 | 2:
                return data[at:at + size]
            at += size
        raise ValueError(f"no field {wanted}")
    return base64.b64encode(field(field(model.getvalue(), 3), 2)).decode()


# Code points: source, replacement. Shortest starts of longer sources, removals, expansions, two to one.
RULES = """\
41 30A	C5
61	62 63
61 62	78
2126	3A9
E9	65
65 301	E9
AD	
200B	
0D	20
1F600	3A 29
FF21	41
"""


def small_charsmap():
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(RULES)
        rules.flush()
        return charsmap(normalization_rule_tsv=rules.name)


def unigram_vocabulary(lines, normalizer, pre_tokenizer, size):
    """Parts of words with the logarithm of their share, the frequent and long first. Simple, and always the same."""
    plain = Tokenizer.from_str(json.dumps({"version": "1.0", "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
                                           "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}))
    counts = collections.Counter()
    for line in lines:
        text = plain.normalizer.normalize_str(line) if plain.normalizer else line
        words = plain.pre_tokenizer.pre_tokenize_str(text) if plain.pre_tokenizer else [(text, None)]
        for word, _ in words:
            for begin in range(len(word)):
                for end in range(begin + 1, min(begin + 7, len(word)) + 1):
                    counts[word[begin:end]] += 1
    total = sum(counts.values())
    best = sorted(counts, key=lambda t: (-counts[t] * len(t), t))[:size]
    return [[t, round(math.log(counts[t] / total) + 0.5 * len(t), 6)] for t in best]


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def bpe(lines, normalizer, pre_tokenizer, size, bytes_first=False, alphabet=None, **options):
    trained = Tokenizer(models.BPE(unk_token=options.get("unk_token")))
    plain = json.loads(trained.to_str())
    plain["normalizer"], plain["pre_tokenizer"] = normalizer, pre_tokenizer
    trained = Tokenizer.from_str(json.dumps(plain))
    if not alphabet:  # of equals the lowest, so that the result is always the same
        counts = collections.Counter("".join(lines).replace(" ", "▁"))
        alphabet = sorted(sorted(counts, key=lambda c: (-counts[c], c))[:300])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet,
                                  limit_alphabet=len(alphabet), max_token_length=24)
    trained.train_from_iterator(lines, trainer)
    model = json.loads(trained.to_str())["model"]
    names = [t for t, _ in sorted(model["vocab"].items(), key=lambda e: e[1])]
    model["vocab"] = (BYTES if bytes_first else []) + names
    model.update(options)
    return model


def byte_level_family(pre_tokenizer, normalizer=None, tokens=(), post=None, size=700, **options):
    def make(lines):
        model = bpe(lines, normalizer, pre_tokenizer, size, alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
        return model, list(tokens)
    return {"make": make, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post,
            "decoder": byte_level(True)}


def sentencepiece_family(tokens, normalizer=None, pre_tokenizer=None, decoder=None, post=None):
    def make(lines):
        words = pre_tokenizer or metaspace("never")  # without one, training would count whole lines
        model = bpe(lines, normalizer, words, 600, bytes_first=True, unk_token="<unk>", fuse_unk=True,
                    byte_fallback=True)
        return model, list(tokens)
    return {"make": make, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post,
            "decoder": decoder}


def unigram_family(normalizer, pre_tokenizer, decoder, post=None, byte_fallback=False, size=900, tokens=()):
    def make(lines):
        pieces = unigram_vocabulary(lines, normalizer, pre_tokenizer, size)
        if byte_fallback:
            pieces = [[b, 0.0] for b in BYTES] + pieces
        return ({"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": byte_fallback},
                [added("<pad>"), added("</s>"), added("<unk>")] + list(tokens))
    return {"make": make, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post,
            "decoder": decoder}


def word_piece_family():
    pre_tokenizer = {"type": "BertPreTokenizer"}
    normalizer = normalizers({"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"})

    def make(lines):
        pieces = [t for t, _ in unigram_vocabulary(lines, normalizer, pre_tokenizer, 900)]
        vocabulary = list(dict.fromkeys(pieces[::2] + ["##" + p for p in pieces[1::2]]))
        return ({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                 "max_input_chars_per_word": 20, "vocab": vocabulary},
                [added("[PAD]"), added("[UNK]"), added("[CLS]"), added("[SEP]"), added("[MASK]", lstrip=True)])
    return {"make": make, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": template(["[CLS]"], ["[SEP]"]),
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}}


def families():
    nfc = {"type": "NFC"}
    spaces = [added(" " * n, special=False, normalized=True) for n in range(24, 1, -1)]
    return {
        "opt": byte_level_family(byte_level(True), tokens=[added("<pad>"), added("</s>", normalized=True)],
                                 post=template(["</s>"])),
        "bloom": byte_level_family(sequence(split(BLOOM), byte_level()),
                                   tokens=[added("<unk>"), added("<s>"), added("</s>"), added("<pad>")],
                                   post=byte_level(True, prefix=True, trim=False)),
        "neox": byte_level_family(byte_level(True), nfc, [added("<|endoftext|>"), added("<|padding|>")] + spaces,
                                  post=byte_level(True)),
        "qwen": byte_level_family(sequence(split(QWEN2), byte_level(trim=False)), nfc,
                                  [added("<|endoftext|>"), added("<|im_start|>"), added("<|im_end|>"),
                                   added("<tool_call>", special=False), added("<think>", special=False)],
                                  post=byte_level(False, trim=False)),
        "llama3": byte_level_family(NAMED["llama-bpe"],
                                    tokens=[added("<|begin_of_text|>"), added("<|end_of_text|>")] +
                                    [added(f"<|reserved_special_token_{n}|>") for n in range(250)],
                                    post={"type": "Sequence", "processors": [byte_level(True, prefix=True, trim=False),
                                                                             template(["<|begin_of_text|>"])]},
                                    ignore_merges=True),
        "smollm": byte_level_family(NAMED["smollm"], tokens=[added("<|endoftext|>"), added("<|im_start|>")]),
        "olmo2": byte_level_family(NAMED["dbrx"], tokens=[added("|||IP_ADDRESS|||", special=False, normalized=True),
                                                          added("<|endoftext|>"), added("<|fim_prefix|>")]),
        "nemo": byte_level_family(NAMED["tekken"], tokens=[added("<unk>"), added("<s>"), added("</s>"), added("[INST]")],
                                  post=template(["<s>"]), ignore_merges=True),
        "mistral": sentencepiece_family(OLD_LLAMA2_TOKENS, LLAMA2_NORMALIZER, None, LLAMA2_DECODER, template(["<s>"])),
        "mistral3": sentencepiece_family(LLAMA2_TOKENS + [added("[INST]"), added("[/INST]")], None,
                                         metaspace("first", False), LLAMA2_DECODER, template(["<s>"])),
        "phi3": sentencepiece_family([added("<unk>"), added("<s>"), added("</s>", special=False, rstrip=True),
                                      added("<|endoftext|>"), added("<|assistant|>", rstrip=True),
                                      added("<|end|>", rstrip=True), added("<|user|>", rstrip=True)],
                                     LLAMA2_NORMALIZER, None, LLAMA2_DECODER),
        "gemma": sentencepiece_family([added("<pad>"), added("<eos>"), added("<bos>"), added("<unk>"),
                                       added("<mask>", special=False)] +
                                      [added("\n" * n, special=False) for n in range(2, 8)] +
                                      [added("▁" * n, special=False) for n in range(2, 32)] +
                                      [added(t, special=False) for t in ("<table>", "<h1>", "<code>")],
                                      SPACE_TO_SYMBOL, split(" ", "MergedWithPrevious", "String"), GEMMA_DECODER,
                                      template(["<bos>"])),
        "t5": unigram_family({"type": "Precompiled",
                              "precompiled_charsmap": charsmap(normalization_rule_name="nmt_nfkc")},
                             sequence({"type": "WhitespaceSplit"}, metaspace()), metaspace(), template([], ["</s>"])),
        "albert": unigram_family(normalizers({"type": "Replace", "pattern": {"String": "``"}, "content": "\""},
                                             {"type": "Replace", "pattern": {"String": "''"}, "content": "\""},
                                             {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
                                             {"type": "Precompiled", "precompiled_charsmap": small_charsmap()}),
                                 metaspace(), metaspace(), template(["<pad>"], ["</s>"]),
                                 tokens=[added("[MASK]", lstrip=True)]),
        "charsmap": unigram_family({"type": "Precompiled", "precompiled_charsmap": small_charsmap()}, None, None,
                                   byte_fallback=True, size=300),
        "unigram": unigram_family(normalizers({"type": "Nmt"}, {"type": "NFKC"},
                                              {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}),
                                  metaspace("first"), metaspace("first"), byte_fallback=True),
        "wordpiece": word_piece_family(),
    }


def build(family, lines):
    """tokenizer.json of a family: added tokens first, then the model's own."""
    model, tokens = family["make"](lines)
    names = [t["content"] for t in tokens]
    if model["type"] == "Unigram":
        model["vocab"] = [[n, 0.0] for n in names] + [p for p in model["vocab"] if p[0] not in names]
    else:
        # As published: tokens that are only looked for in the text are no tokens of the model.
        own = [n for n in names if n.strip() and n != "|||IP_ADDRESS|||"]
        order = own + [t for t in model["vocab"] if t not in own]
        model["vocab"] = {t: i for i, t in enumerate(order)}
        next_id = len(order)
    listed = []
    for token in tokens:
        content = token["content"]
        if model["type"] == "Unigram":
            known = names.index(content)
        else:
            known = model["vocab"].get(content)
            if known is None:
                known, next_id = next_id, next_id + 1
        listed.append({"id": known, **token})
    ids = {t["content"]: t["id"] for t in listed}

    def fill(post):
        if post and post["type"] == "TemplateProcessing":
            post = {**post, "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]}
                                               for n in post["special_tokens"]}}
        if post and post["type"] == "Sequence":
            post = {**post, "processors": [fill(p) for p in post["processors"]]}
        return post
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": sorted(listed, key=lambda t: t["id"]),
            "normalizer": family["normalizer"], "pre_tokenizer": family["pre_tokenizer"],
            "post_processor": fill(family["post_processor"]), "decoder": family["decoder"], "model": model}
