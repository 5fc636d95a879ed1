// Text that others wrote: is it UTF-8, can it be shown, what did they mean. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorry {

// Whole and shortest-form UTF-8 without surrogates (Unicode 15, table 3-7).
bool IsValidUtf8(std::string_view text);
// The offset of the first byte that is not UTF-8; nullopt where there is none.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

// A relative path that stays within its folder: no empty part, no "..", no zero byte.
bool IsPathWithin(std::string_view path);

// For messages: control characters and bytes that are not UTF-8 become \n, \t or \xHH; at most `max_bytes` bytes, then "...".
std::string EscapeControl(std::string_view text, size_t max_bytes = 200);

// For HTML, in text and in quoted attributes alike.
std::string EscapeHtml(std::string_view text);

// Levenshtein distance in bytes; a swap of neighbours counts one.
int EditDistance(std::string_view a, std::string_view b);
// The candidate within an edit distance of 2 and of a third of the word's length, the nearest first; nullopt where none is.
std::optional<std::string> NearestName(std::string_view word, const std::vector<std::string>& candidates);

std::vector<std::string> Split(std::string_view text, char separator);
std::string_view Trim(std::string_view text);

}  // namespace lorry
