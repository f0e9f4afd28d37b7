// What is counted of the firings of each feature, in one pass over them.
//
// Tokens are counted in a table with a place for every token of the vocabulary. Which places are in use stands in a set
// of bits, with a second set above it for words that are not zero: so the tokens come out in order without a sort, and
// what was used is cleared on the way.
#include "common.h"

#include <cmath>
#include <cstring>

namespace {

constexpr int64_t AHEAD = 24;  // firings by which what is known of their rows is fetched

struct Tokens {
  int32_t* counts;  // of the vocabulary
  uint64_t* words;
  uint64_t* above;
  int64_t num_above;

  explicit Tokens(int64_t vocabulary) {
    const int64_t num_words = lx::ceil_div(vocabulary, 64);
    num_above = lx::ceil_div(num_words, 64);
    counts = static_cast<int32_t*>(lx::scratch(0, vocabulary * sizeof(int32_t) + 64));
    words = static_cast<uint64_t*>(lx::scratch(1, (num_words + num_above) * sizeof(uint64_t) + 64));
    above = words + num_words;
    std::memset(counts, 0, vocabulary * sizeof(int32_t));
    std::memset(words, 0, (num_words + num_above) * sizeof(uint64_t));
  }

  void add(int32_t token) {
    if (counts[token]++ == 0) {
      words[token >> 6] |= uint64_t{1} << (token & 63);
      above[token >> 12] |= uint64_t{1} << (token >> 6 & 63);
    }
  }

  // body(token, count), tokens ascending; none are left.
  template <class Body>
  void take(const Body& body) {
    for (int64_t i = 0; i < num_above; ++i) {
      for (; above[i] != 0; above[i] &= above[i] - 1) {
        const int64_t word = i << 6 | __builtin_ctzll(above[i]);
        for (; words[word] != 0; words[word] &= words[word] - 1) {
          const int64_t token = word << 6 | __builtin_ctzll(words[word]);
          body(static_cast<int32_t>(token), counts[token]);
          counts[token] = 0;
        }
      }
    }
  }
};

}  // namespace

// Of feature b, which has the firings offsets[b]..offsets[b + 1]-1 in order of rows: its largest value and the first
// row that has it, the sum of its values, in how many documents it fires (rows of one follow one another), on which
// `keep` tokens most often (ties to the smaller) and how often, how often in documents of each kind, and the sum of
// n log n over the counts n of its tokens, in order of tokens; `logs` holds n log n for the first `num_logs` n.
// Features without firings are left as they are.
LX_API void lx_firings_summary(const int64_t* offsets, const int32_t* rows, const float* values, const int32_t* tokens,
                               const int32_t* documents, const int32_t* kinds, const double* logs, float* most,
                               int64_t* most_rows, double* sums, int32_t* in_documents, int32_t* often,
                               int64_t* often_counts, int64_t* of_kinds, double* spreads, int64_t num_features,
                               int64_t vocabulary, int64_t keep, int64_t num_kinds, int64_t num_logs,
                               int64_t threads) {
  const int64_t parts = threads > 1 ? 8 * threads : 1;
  lx::parallel_for(parts, threads, [&](int64_t part) {
    Tokens counted(vocabulary);
    const int64_t last = num_features * (part + 1) / parts, end_of_all = offsets[num_features];
    for (int64_t b = num_features * part / parts; b < last; ++b) {
      const int64_t begin = offsets[b], end = offsets[b + 1];
      if (begin == end) continue;
      int64_t top = begin, *in_kinds = of_kinds + b * num_kinds;
      int32_t before = -1, num_documents = 0;
      double sum = 0;
      for (int64_t n = begin; n < end; ++n) {
        if (n + AHEAD < end_of_all) {
          __builtin_prefetch(tokens + rows[n + AHEAD]);
          __builtin_prefetch(documents + rows[n + AHEAD]);
        }
        if (values[n] > values[top]) top = n;
        sum += values[n];
        const int32_t document = documents[rows[n]];
        num_documents += document != before;
        before = document;
        ++in_kinds[kinds[document]];
        counted.add(tokens[rows[n]]);
      }
      most[b] = values[top];
      most_rows[b] = rows[top];
      sums[b] = sum;
      in_documents[b] = num_documents;
      int32_t* best = often + b * keep;
      int64_t *counts = often_counts + b * keep, found = 0;
      double spread = 0;
      counted.take([&](int32_t token, int32_t count) {
        spread += count < num_logs ? logs[count] : count * std::log(static_cast<double>(count));
        if (found == keep && counts[keep - 1] >= count) return;
        int64_t place = found < keep ? found++ : keep - 1;
        for (; place > 0 && counts[place - 1] < count; --place) {
          counts[place] = counts[place - 1];
          best[place] = best[place - 1];
        }
        counts[place] = count;
        best[place] = token;
      });
      spreads[b] = spread;
    }
  });
}
