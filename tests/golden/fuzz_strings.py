"""The strings that tokenizers are compared on: Unicode of all planes, controls, digits, long runs of blanks, special tokens inside text."""


def character(r):
    k = r.random()
    if k < 0.30: return chr(r.randrange(0x20, 0x7F))
    if k < 0.38: return chr(r.randrange(0x00, 0x20))
    if k < 0.46: return r.choice("0123456789")
    if k < 0.54: return " " * r.randrange(1, 40)
    if k < 0.60: return r.choice("\n\r\t\u00a0\u2028\u3000\u0085\u180e\u200b\ufeff")
    if k < 0.68: return chr(r.randrange(0xA0, 0x600))
    if k < 0.80:
        while True:
            c = r.randrange(0x600, 0x10000)
            if not 0xD800 <= c < 0xE000: return chr(c)
    if k < 0.92: return chr(r.randrange(0x10000, 0x20000))
    if k < 0.96: return chr(r.randrange(0x20000, 0x110000))
    return r.choice(["'s", "'LL", "don't", "\u0301", "e\u0301\u0323", "\u1100\u1161\u11a8", "\U0001f468\u200d\U0001f469", "\u0e33", "\u0130", "\u017f",
                     "\r\n", "\r\n\r\n", "\n \n", "\t\t ", "\u0323\u0301\u0316", "\u0344", "\u212b", "\ufb01", "\u3099\u304b", "\u2581", "\u2581\u2581 ", "\ufffd", "\ufe0f", "<0x0A>", "<0xE2>", "\u1e9b\u0323"])


def fuzz_strings(r, count, specials):
    """`count` strings by the generator `r`; `specials` are texts of the tokenizer's special tokens, given whole and cut short."""
    words = ["the", "Summarize this package", "http://", "12345678901234567890", "ab" * 60, "\n\n\n", "GNU/Linux", "über", "日本語", "مرحبا", "приветмир", "שלום", "हिन्दी", "ไทยภาษา", "한국어한국어", "naïvecafé",
             "Donaudampfschifffahrtsgesellschaftskapitän" * 4, "x1y2z3" * 30, "0.1e-5", "camelCaseWORDAndMore", "\t\tif (a[i] != b) {\n", "////****", "'ve'LL'Re", "a\u0301" * 20]
    out = ["", " ", "  ", "a", "\n"]
    for _ in range(count):
        s = ""
        for _ in range(r.randrange(1, 30)):
            k = r.random()
            s += character(r) if k < 0.7 else r.choice(words) if k < 0.93 else r.choice(specials) if k < 0.98 else r.choice(specials)[:-1]
        if r.random() < 0.01: s += r.choice(" a0") * r.randrange(200, 5000)
        out.append(s)
    return out
