"""The conversations that chat templates and loss masks are compared on: by turns of user and assistant with a system turn, tools and
their calls, reasoning, texts of fuzz_strings.py, blanks at the ends, empty texts; some that a template refuses."""
from fuzz_strings import fuzz_strings

SCHEMA = {"type": "object", "properties": {"town": {"type": "string", "description": "which <town> & 'where' \u00fcberall"}, "days": {"type": "integer", "enum": [1, 2]}}, "required": ["town"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather \u2600 of a town", "parameters": SCHEMA}},
         {"type": "function", "function": {"name": "add", "description": "a+b", "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}}}]
PLAIN = ["Hello", "What is 12345 + 1?", "It's fine.", "Summarize this package:\n\nLorry trains adapters.", "def f(x):\n    return x  # ok", "- one\n- two\n", "Ja, gern!", "\u65e5\u672c\u8a9e\u3067\u304a\u9858\u3044\u3057\u307e\u3059\u3002", "naive caf\u00e9 \U0001f600"]
BLANKS = ["", " ", "  ", "\n", "\n\n", "\t", " \n", "\r\n", "\u00a0", "\u3000"]


class Chats:
    """`specials`: the tokenizer's special tokens, which stand inside a text now and then."""

    def __init__(self, r, specials):
        self.r, self.strings, self.specials = r, [s for s in fuzz_strings(r, 3000, specials) if 0 < len(s) < 400], specials

    def text(self, may_be_empty=True):
        r, k = self.r, self.r.random()
        if may_be_empty and k < 0.04: return ""
        if may_be_empty and k < 0.06: return r.choice(BLANKS)
        s = r.choice(PLAIN) if k < 0.5 else r.choice(self.strings)
        if r.random() < 0.25: s = r.choice(BLANKS) + s
        if r.random() < 0.25: s += r.choice(BLANKS)
        if r.random() < 0.03: s += r.choice(self.specials) + r.choice(PLAIN)
        return s

    def answer(self, last):
        r, text = self.r, self.text(may_be_empty=not last)
        turn = {"role": "assistant", "content": text}
        k = r.random()
        if k < 0.06: turn["content"] = "<think>" + r.choice(BLANKS) + self.text() + "\n</think>" + r.choice(BLANKS) + text
        elif k < 0.10: turn[r.choice(["reasoning_content", "reasoning", "thinking"])] = self.text()
        elif k < 0.12: turn["name"] = None
        return turn

    def call(self):
        r, identifier = self.r, "".join(self.r.choice("abcXYZ0123456789") for _ in range(9))
        arguments = r.choice([{"town": self.text(), "days": 2}, {"a": 1.5, "b": -3, "c": [1, None, True, {"d": 1e-7}]}, {}])
        one = {"id": identifier, "type": "function", "function": {"name": r.choice(["weather", "add"]), "arguments": arguments}}
        turn = {"role": "assistant", "content": r.choice(["", None, self.text()]), "tool_calls": [one] * r.choice([1, 1, 1, 2])}
        if r.random() < 0.3: del turn["content"]
        return [turn, {"role": "tool", "tool_call_id": identifier, "name": "weather", "content": r.choice(["12", "1.5", "{\"sky\": \"clear\"}", self.text()])}]

    def row(self, tools=0.2):
        """A training row: in the order that rows must have, an answer last."""
        r, turns = self.r, []
        if r.random() < 0.35: turns.append({"role": "system", "content": self.text()})
        rounds = r.choice([1, 1, 1, 2, 2, 3, 4])
        with_tools = r.random() < tools
        for i in range(rounds):
            turns.append({"role": "user", "content": self.text()})
            if with_tools and r.random() < 0.6: turns += self.call()
            turns.append(self.answer(last=i + 1 == rounds))
        return {"messages": turns, "tools": TOOLS[:r.choice([1, 2])]} if with_tools and r.random() < 0.8 else {"messages": turns}

    def chat(self):
        """What a template is rendered on: rows, prompts, and orders that it may refuse."""
        r, row = self.r, self.row()
        if r.random() < 0.4: row["messages"] = row["messages"][:r.randrange(1, len(row["messages"]) + 1)]
        if r.random() < 0.1: r.shuffle(row["messages"])
        if r.random() < 0.02: row["messages"][0] = {"role": "narrator", "content": self.text()}
        if r.random() < 0.05: row["messages"][0]["content"] = [{"type": "text", "text": self.text()}, {"type": "text", "text": self.text()}]
        row["add_generation_prompt"] = r.random() < 0.5
        if r.random() < 0.1: row["enable_thinking"] = r.random() < 0.5
        if r.random() < 0.1: row["date_string"] = "1 Jan 2026"
        return row
