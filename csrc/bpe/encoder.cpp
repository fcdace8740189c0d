#include "bpe/encoder.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/threads.h"
#include "text/utf8.h"

namespace smolfast::bpe {
namespace {

// Small, so that threads end nearly together: the next batch waits for the last of them.
constexpr int64_t kBytesOfATask = int64_t{1} << 18;
// So many words are cut before the first of them is looked up: memory has time to come.
constexpr std::size_t kTogether = 16;

}  // namespace

struct Encoder::Worker {
  WordIds words;
  JoinRoom room;
  std::string name;
};

Encoder::Encoder(const EncoderOptions& options)
    : pattern_(options.pattern),
      merges_(options.bytes, options.merges),
      whole_(options.whole.begin(), options.whole.end()),
      added_(options.added) {
  for (const auto& [name, id] : added_) {
    if (name.empty()) throw Error("an added token is empty; leave it out");
    begins_added_[static_cast<uint8_t>(name[0])] = true;
  }
}

Encoder::~Encoder() = default;

uint32_t* Encoder::join(std::string_view word, Worker& worker, uint32_t* out) const {
  if (!whole_.empty()) {
    worker.name.assign(word);
    if (const auto found = whole_.find(worker.name); found != whole_.end()) {
      *out = found->second;
      return out + 1;
    }
  }
  return merges_.join(word, worker.room, out);
}

template <Pattern pattern>
uint32_t* Encoder::encode_stretch(std::string_view text, Worker& worker, uint32_t* out) const {
  const char* const end = text.data() + text.size();
  WordCutter<pattern> words(end);
  std::array<WordIds::Key, kTogether> keys;
  for (const char* at = text.data(); at != end;) {
    std::size_t count = 0;
    while (at != end && count < kTogether) {
      const char* const past = words.next(at);
      const std::string_view word(at, static_cast<std::size_t>(past - at));
      keys[count++] = word.size() <= WordIds::kLongestWord ? worker.words.key(word) : WordIds::Key{word, 0, 0, 0};
      at = past;
    }
    for (const WordIds::Key& key : std::span(keys).first(count)) {
      if (key.word.size() > WordIds::kLongestWord) {
        out = join(key.word, worker, out);
        continue;
      }
      uint32_t* past = worker.words.find(key, out);
      if (past == nullptr) {
        past = join(key.word, worker, out);
        worker.words.add(key, out, past);
      }
      out = past;
    }
  }
  return words.unsettled() ? nullptr : out;
}

uint32_t* Encoder::encode_stretch(std::string_view text, Worker& worker, uint32_t* out) const {
  switch (pattern_) {
    case Pattern::kLlama3:
      return encode_stretch<Pattern::kLlama3>(text, worker, out);
    case Pattern::kQwen:
      return encode_stretch<Pattern::kQwen>(text, worker, out);
    case Pattern::kGpt2:
      break;
  }
  return encode_stretch<Pattern::kGpt2>(text, worker, out);
}

// Where the next added token stands, and which; the text's size if there is none.
std::size_t Encoder::find_added(std::string_view text, std::size_t from, std::size_t& which) const {
  for (; from < text.size(); ++from) {
    if (!begins_added_[static_cast<uint8_t>(text[from])]) continue;
    for (which = 0; which < added_.size(); ++which) {
      if (text.substr(from).starts_with(added_[which].first)) return from;
    }
  }
  return text.size();
}

uint32_t* Encoder::encode_text(std::string_view text, Worker& worker, uint32_t* out) const {
  if (added_.empty()) return encode_stretch(text, worker, out);
  for (std::size_t from = 0; from < text.size();) {
    std::size_t which = 0;
    const std::size_t at = find_added(text, from, which);
    out = encode_stretch(text.substr(from, at - from), worker, out);
    if (out == nullptr || at == text.size()) break;
    *out++ = added_[which].second;
    from = at + added_[which].first.size();
  }
  return out;
}

std::unique_ptr<Encoder::Worker> Encoder::take_worker() {
  const std::lock_guard<std::mutex> hold(lock_);
  if (free_.empty()) return std::make_unique<Worker>();
  std::unique_ptr<Worker> worker = std::move(free_.back());
  free_.pop_back();
  return worker;
}

EncodedRows Encoder::take_rows(std::size_t rows, std::size_t room) {
  EncodedRows found;
  {
    const std::lock_guard<std::mutex> hold(lock_);
    if (!given_back_.empty()) {
      found = std::move(given_back_.back());
      given_back_.pop_back();
    }
  }
  if (found.room < room) {
    found.ids.reset();
    found.ids = std::make_unique_for_overwrite<uint32_t[]>(room);
    found.room = room;
  }
  found.ends.resize(rows);
  found.left.clear();
  return found;
}

void Encoder::give_back(EncodedRows rows) {
  const std::lock_guard<std::mutex> hold(lock_);
  given_back_.push_back(std::move(rows));
}

EncodedRows Encoder::encode(const std::vector<arrow::StringColumn>& chunks, bool known_valid, int threads) {
  struct Task {
    const arrow::StringColumn* column;
    int64_t base;  // the column's first row
    int64_t from, to;
    std::size_t begin;  // where its ids go at first
    std::size_t count;
    std::vector<int64_t> left;
  };
  std::vector<Task> tasks;
  std::size_t room = 0;
  int64_t base = 0;
  for (const arrow::StringColumn& column : chunks) {
    const std::vector<int64_t> starts = arrow::split_rows(column, kBytesOfATask);
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      tasks.push_back({&column, base, starts[i], starts[i + 1], room, 0, {}});
      for (int64_t row = starts[i]; row < starts[i + 1]; ++row) room += column[row].size();
      room += WordIds::kWidth;
    }
    base += column.size();
  }
  const Isa isa = active_isa();
  EncodedRows all = take_rows(static_cast<std::size_t>(base), room);
  parallel_for(tasks.size(), threads, [&](std::size_t number) {
    Task& task = tasks[number];
    std::unique_ptr<Worker> worker = take_worker();
    worker->room.isa = isa;
    uint32_t* const begin = all.ids.get() + task.begin;
    uint32_t* out = begin;
    for (int64_t row = task.from; row < task.to; ++row) {
      const std::string_view text = (*task.column)[row];
      if (!known_valid && !text::is_valid_utf8(text)) {
        throw Error("row " + std::to_string(task.base + row) + " is not UTF-8 at byte " +
                    std::to_string(text::first_invalid_byte(text)) + "; repair the column");
      }
      uint32_t* const past = task.column->is_null(row) ? out : encode_text(text, *worker, out);
      if (past == nullptr) task.left.push_back(task.base + row);
      out = past == nullptr ? out : past;
      all.ends[static_cast<std::size_t>(task.base + row)] = out - begin;
    }
    task.count = static_cast<std::size_t>(out - begin);
    const std::lock_guard<std::mutex> hold(lock_);
    free_.push_back(std::move(worker));
  });
  std::size_t done = 0;
  for (const Task& task : tasks) {
    std::copy_n(all.ids.get() + task.begin, task.count, all.ids.get() + done);
    for (int64_t row = task.from; row < task.to; ++row) {
      all.ends[static_cast<std::size_t>(task.base + row)] += static_cast<int64_t>(done);
    }
    done += task.count;
    all.left.insert(all.left.end(), task.left.begin(), task.left.end());
  }
  return all;
}

}  // namespace smolfast::bpe
