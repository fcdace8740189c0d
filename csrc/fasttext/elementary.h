// Exponential and logarithm in plain arithmetic: the C library's differ in their last bits from one machine to the
// next, and labels and scores must not.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace smolfast::fasttext {

// eˣ within 2 units in the last place: x = n · ln 2 + r, and eʳ by its Taylor polynomial of degree 13 (its rest is
// below 2⁻⁵⁷ for |r| ≤ ln 2 / 2). 0 below −700, infinity above 709. NaN stays NaN.
inline double exponential(double x) {
  if (x != x) return x;
  if (x < -700) return 0;
  if (x > 709) return std::numeric_limits<double>::infinity();
  constexpr double kRound = 6755399441055744.0;  // 1.5 · 2⁵²
  const double n = (x * 1.4426950408889634 + kRound) - kRound;
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;  // ln 2 in two parts
  double p = 1.0 / 6227020800;
  constexpr double kInverse[] = {
      1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
      1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  for (const double c : kInverse) p = p * r + c;
  return p * std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52);
}

// ln x for x > 0 and normal: x = 2ⁿ · m with m around 1, and ln m = 2 artanh((m − 1) / (m + 1)) by its series up to the
// power 21 (its rest is below 2⁻⁵⁸ for m between √½ and √2). −infinity for 0.
inline double logarithm(double x) {
  if (x != x || x == std::numeric_limits<double>::infinity()) return x;
  if (x < std::numeric_limits<double>::min()) return -std::numeric_limits<double>::infinity();
  const auto bits = std::bit_cast<uint64_t>(x);
  auto n = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++n;
  }
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double p = 1.0 / 21;
  for (int k = 19; k >= 1; k -= 2) p = p * z + 1.0 / k;
  return static_cast<double>(n) * 0.6931471805599453 + 2 * s * p;
}

}  // namespace smolfast::fasttext
