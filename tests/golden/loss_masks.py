"""What the loss masks of a training row must be, by transformers' renderings, ids and {% generation %} masks."""
from transformers.utils import chat_template_utils

SEAM = "the prompt's tokens are not the beginning of the row's"  # stands in Lorry's error
REFUSED = "refused"


def without_null(messages):
    """The turns as apply_chat_template hands them on."""
    return [{k: v for k, v in m.items() if v is not None} for m in messages]


def render(tok, template, messages, **kw):
    """Text, ids and the mask of {% generation %} (None where the template has none), or None where the template refuses."""
    try:
        text = tok.apply_chat_template(messages, chat_template=template, tokenize=False, **kw)
        marked = "generation %}" in template
        out = tok.apply_chat_template(messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=marked, **kw)
        return text, out["input_ids"], out["assistant_masks"] if marked else None
    except Exception:
        return None


class Row:
    """One row: `masks()` gives for each loss_on its mask, SEAM or REFUSED; `early` says that transformers' own mask ends early."""

    def __init__(self, tok, template, messages, **kw):
        self.tok, self.template, self.messages, self.kw = tok, template, messages, kw
        self.whole = render(tok, template, messages, **kw)
        self.ids = self.whole and self.whole[1]
        self.early = False
        self.lengths = {}

    def masks(self):
        if self.whole is None: return dict.fromkeys(("completion", "assistant", "all"), REFUSED)
        answers = [i for i, m in enumerate(self.messages) if m["role"] == "assistant"]
        return {"completion": self.learned(answers[-1:]), "assistant": self.learned(answers) if self.whole[2] is None else self.marked(),
                "all": [0] + [1] * (len(self.ids) - 1)}

    def begins_with(self, ids):
        return len(ids) if self.ids[:len(ids)] == ids else SEAM

    def length(self, turns, prompt):
        """How many of the row's tokens the first turns are."""
        key = turns, prompt
        if key not in self.lengths:
            try:
                part = self.tok.apply_chat_template(self.messages[:turns], chat_template=self.template, add_generation_prompt=prompt, **self.kw)
                self.lengths[key] = self.begins_with(part["input_ids"])
            except Exception:
                self.lengths[key] = REFUSED
        return self.lengths[key]

    def learned(self, turns):
        """The answers at `turns`: from where the prompt before each ends to where the conversation with it ends."""
        mask = [0] * len(self.ids)
        for i in turns:
            begin = self.length(i, True)
            if not isinstance(begin, int): return begin
            end = len(self.ids) if i + 1 == len(self.messages) else self.length(i + 1, False)
            if not isinstance(end, int): return end
            mask[begin:end] = [1] * max(0, end - begin)
        return [0] + mask[1:]

    def marked(self):
        text, ids, mask = self.whole
        variables = {**self.tok.special_tokens_map, **self.kw}
        spans = chat_template_utils.render_jinja_template([without_null(self.messages)], chat_template=self.template, return_assistant_tokens_mask=True, **variables)[1][0]
        for place in (place for span in spans for place in span):
            if self.begins_with(self.tok(text[:place], add_special_tokens=False)["input_ids"]) == SEAM: return SEAM
        out = self.tok(text, add_special_tokens=False, return_offsets_mapping=True)
        # A span that begins with a character that the vocabulary has no token for: there transformers leaves the rest unmarked
        # ("maybe due to truncation", as it says). The mask then is that of the tokens that lie in the spans by its own offsets.
        self.early = any(begin < end and out.char_to_token(begin) is None for begin, end in spans)
        if self.early: mask = [int(any(begin <= a and b <= end for begin, end in spans)) for a, b in out["offset_mapping"]]
        return [0] + mask[1:]
