// On one core of a Zen 4 that does 117 GFLOP/s in fp32 and 232 in bf16, the products of a strip of 8 with a panel of
// two vectors reach 110 to 115 and 220 to 230 from the cache; larger ones, up to 14 × 2 and 8 × 3, are no faster. AVX2
// does 6 × 2 at 110 to 117, 4 × 2 at 90 to 109.
#include "loss/kernels.h"

#include <bit>
#include <cstring>

#include "base/vector_loops.h"

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#include <immintrin.h>
#endif

// This file is compiled with contraction of a · b + c into one instruction, which the ISO mode of the rest forbids.

namespace smolfast::loss {

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#define SMOLFAST_ALWAYS __attribute__((always_inline))

namespace {

template <Index LANES>
SMOLFAST_INLINE Floats<LANES> get(const float* from) {
  Floats<LANES> vec;
  std::memcpy(&vec, from, sizeof vec);
  return vec;
}
template <Index LANES>
SMOLFAST_INLINE void put(Floats<LANES> vec, float* to) {
  std::memcpy(to, &vec, sizeof vec);
}
template <class VEC>
SMOLFAST_INLINE VEC larger(VEC a, VEC b) {
  return a > b ? a : b;
}

// Statistics of one vector of rows, `each(c)` their logits of column c and `exp` the exponentials of numbers up to 0.
// The first maximum is finite, so that −∞ counts as nothing; NaN leaves the maximum and spoils the sums.
template <Index LANES, class EACH, class EXP>
SMOLFAST_INLINE void accumulate(Index columns, float* highest, float* sum_of_exponentials, float* sum, const EACH& each,
                                const EXP& exp) {
  const Floats<LANES> before = get<LANES>(highest);
  Floats<LANES> most = before, all = get<LANES>(sum);
  for (Index c = 0; c < columns; ++c) {
    const Floats<LANES> z = each(c);
    most = larger(z, most);
    all += z;
  }
  Floats<LANES> exponential = get<LANES>(sum_of_exponentials) * exp(before - most);
  for (Index c = 0; c < columns; ++c) exponential += exp(each(c) - most);
  put<LANES>(most, highest);
  put<LANES>(exponential, sum_of_exponentials);
  put<LANES>(all, sum);
}

template <Index LANES, class EXP>
SMOLFAST_INLINE Floats<LANES> slope(Floats<LANES> logit, const Slopes& of, Index row, const EXP& exp) {
  return get<LANES>(of.scale + row) * exp(logit - get<LANES>(of.highest + row)) - get<LANES>(of.uniform + row);
}

template <Index LANES, Index ROWS>
struct Fp32 {
  using Vec = Floats<LANES>;
  static constexpr Index kPanel = 2 * LANES;

  template <bool TURNED>
  SMOLFAST_INLINE void multiply(const float* A, Index stride, const float* B, Index steps, float* C, Index apart,
                                bool add) {
    Vec sums[ROWS][2] = {};
    if (add) {
#pragma GCC unroll 8
      for (Index r = 0; r < ROWS; ++r) {
        for (Index v = 0; v < 2; ++v) sums[r][v] = get<LANES>(C + r * apart + v * LANES);
      }
    }
    for (; steps > 0; --steps, A += TURNED ? stride : 1, B += kPanel) {
      const Vec left = reinterpret_cast<const Vec*>(B)[0], right = reinterpret_cast<const Vec*>(B)[1];
#pragma GCC unroll 8
      for (Index r = 0; r < ROWS; ++r) {
        const float a = A[TURNED ? r : r * stride];
        sums[r][0] += a * left;
        sums[r][1] += a * right;
      }
    }
#pragma GCC unroll 8
    for (Index r = 0; r < ROWS; ++r) {
      for (Index v = 0; v < 2; ++v) put<LANES>(sums[r][v], C + r * apart + v * LANES);
    }
  }

  SMOLFAST_INLINE void absorb(const float* logits, Index columns, const float* bias, float* to, Index apart,
                              const Running& running) {
    for (Index c = 0; c < columns; ++c) {
      const float shift = bias == nullptr ? 0.0f : bias[c];
      for (Index v = 0; v < kPanel; v += LANES)
        put<LANES>(get<LANES>(logits + c * kPanel + v) + shift, to + c * apart + v);
    }
    for (Index v = 0; v < kPanel; v += LANES) {
      accumulate<LANES>(
          columns, running.highest + v, running.sum_of_exponentials + v, running.sum + v,
          [&](Index c) SMOLFAST_ALWAYS { return get<LANES>(to + c * apart + v); },
          [](Vec x) SMOLFAST_ALWAYS { return exponentials<LANES>(x); });
    }
  }

  SMOLFAST_INLINE void differentiate(const float* logits, Index columns, Index rows, const Slopes& slopes,
                                     const Gradients<float>& to) {
    for (Index c = 0; c < columns; ++c) {
      for (Index r = 0; r < rows; r += LANES) {
        const auto exp = [](Vec x) SMOLFAST_ALWAYS { return exponentials<LANES>(x); };
        put<LANES>(slope<LANES>(get<LANES>(logits + c * rows + r), slopes, r, exp), to.along + c * to.along_stride + r);
      }
    }
  }
};

// The kernel NAME of fp32 for one instruction set, given as the target attribute.
#define SMOLFAST_FP32(NAME, TARGET, LANES, ROWS)                                                                     \
  TARGET SMOLFAST_NOINLINE void multiply_##NAME(const float* A, Index stride, const float* B, Index steps, float* C, \
                                                Index apart, bool add) {                                             \
    Fp32<LANES, ROWS>::multiply<false>(A, stride, B, steps, C, apart, add);                                          \
  }                                                                                                                  \
  TARGET SMOLFAST_NOINLINE void multiply_turned_##NAME(const float* A, Index stride, const float* B, Index steps,    \
                                                       float* C, Index apart) {                                      \
    Fp32<LANES, ROWS>::multiply<true>(A, stride, B, steps, C, apart, true);                                          \
  }                                                                                                                  \
  TARGET void absorb_##NAME(const float* logits, Index columns, const float* bias, float* to, Index apart,           \
                            const Running& running) {                                                                \
    Fp32<LANES, ROWS>::absorb(logits, columns, bias, to, apart, running);                                            \
  }                                                                                                                  \
  TARGET void differentiate_##NAME(const float* logits, Index columns, Index rows, const Slopes& slopes,             \
                                   const Gradients<float>& to) {                                                     \
    Fp32<LANES, ROWS>::differentiate(logits, columns, rows, slopes, to);                                             \
  }                                                                                                                  \
  constexpr Kernel<float> NAME{ROWS,          2 * LANES,           multiply_##NAME, multiply_turned_##NAME,          \
                               absorb_##NAME, differentiate_##NAME};

SMOLFAST_FP32(avx2, SMOLFAST_LOOPS_AVX2, 8, 6)
SMOLFAST_FP32(avx512, SMOLFAST_LOOPS_AVX512, 16, 8)
#undef SMOLFAST_FP32

// bf16

#define SMOLFAST_BF16 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prefer-vector-width=512")))

constexpr Index kRows = 8, kLanes = 16, kPanel = 2 * kLanes;
using Vec = Floats<kLanes>;

template <bool TURNED>
SMOLFAST_BF16 SMOLFAST_INLINE void multiply_pairs(const std::uint32_t* A, Index stride, const std::uint32_t* B,
                                                  Index steps, float* C, Index apart, bool add) {
  __m512 sums[kRows][2];
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r) {
    for (Index v = 0; v < 2; ++v) {
      sums[r][v] = add ? _mm512_loadu_ps(C + r * apart + v * kLanes) : _mm512_setzero_ps();
    }
  }
  for (; steps > 0; --steps, A += TURNED ? stride : 1, B += kPanel) {
    const auto left = std::bit_cast<__m512bh>(_mm512_load_si512(B));
    const auto right = std::bit_cast<__m512bh>(_mm512_load_si512(B + kLanes));
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
      const auto a = std::bit_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(A[TURNED ? r : r * stride])));
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], left, a);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], right, a);
    }
  }
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r) {
    for (Index v = 0; v < 2; ++v) _mm512_storeu_ps(C + r * apart + v * kLanes, sums[r][v]);
  }
}

SMOLFAST_BF16 SMOLFAST_NOINLINE void multiply_bf16(const std::uint32_t* A, Index stride, const std::uint32_t* B,
                                                   Index steps, float* C, Index apart, bool add) {
  multiply_pairs<false>(A, stride, B, steps, C, apart, add);
}

SMOLFAST_BF16 SMOLFAST_NOINLINE void multiply_turned_bf16(const std::uint32_t* A, Index stride, const std::uint32_t* B,
                                                          Index steps, float* C, Index apart) {
  multiply_pairs<true>(A, stride, B, steps, C, apart, true);
}

// Sixteen numbers, and back to the nearest, ties to even.
SMOLFAST_BF16 SMOLFAST_INLINE Vec widened(const std::uint16_t* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return std::bit_cast<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
SMOLFAST_BF16 SMOLFAST_INLINE __m256i narrowed(Vec from) {
  return std::bit_cast<__m256i>(_mm512_cvtneps_pbh(std::bit_cast<__m512>(from)));
}

// eˣ for x ≤ 0, from −10 on within 10⁻⁶ (rounding x · log₂ e costs x · 2⁻²⁴), which is enough beside logits of eight
// bits, in 9 instructions instead of 16: 2ᶠ by its best polynomial of degree 5 for what floor leaves of x · log₂ e.
SMOLFAST_BF16 SMOLFAST_INLINE Vec coarse_exponentials(Vec x) {
  const Vec power = x * 1.44269504f;
  constexpr int kLessFloor = 0x09;
  const Vec f = std::bit_cast<Vec>(_mm512_reduce_ps(std::bit_cast<__m512>(power), kLessFloor));
  Vec p = f * 0.00187757663f + 0.00898934052f;
  p = p * f + 0.0558263174f;
  p = p * f + 0.240153617f;
  p = p * f + 0.693153073f;
  p = p * f + 0.999999925f;
  return std::bit_cast<Vec>(_mm512_scalef_ps(std::bit_cast<__m512>(p), std::bit_cast<__m512>(power)));
}

SMOLFAST_BF16 void absorb_bf16(const float* logits, Index columns, const float* bias, std::uint16_t* to, Index apart,
                               const Running& running) {
  for (Index c = 0; c < columns; ++c) {
    const float shift = bias == nullptr ? 0.0f : bias[c];
    for (Index v = 0; v < kPanel; v += kLanes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + c * apart + v),
                          narrowed(get<kLanes>(logits + c * kPanel + v) + shift));
    }
  }
  for (Index v = 0; v < kPanel; v += kLanes) {
    accumulate<kLanes>(
        columns, running.highest + v, running.sum_of_exponentials + v, running.sum + v,
        [&](Index c) SMOLFAST_BF16 { return widened(to + c * apart + v); }, coarse_exponentials);
  }
}

SMOLFAST_BF16 void differentiate_bf16(const std::uint16_t* logits, Index columns, Index rows, const Slopes& slopes,
                                      const Gradients<std::uint32_t>& to) {
  for (Index c = 0; c < columns; c += 2) {
    auto* first = reinterpret_cast<std::uint16_t*>(to.along + c * to.along_stride);
    auto* second = reinterpret_cast<std::uint16_t*>(to.along + (c + 1) * to.along_stride);
    for (Index r = 0; r < rows; r += kLanes) {
      const std::uint16_t* at = logits + c * rows + r;
      const __m256i low = narrowed(slope<kLanes>(widened(at), slopes, r, coarse_exponentials));
      const __m256i high = c + 1 < columns ? narrowed(slope<kLanes>(widened(at + rows), slopes, r, coarse_exponentials))
                                           : _mm256_setzero_si256();
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(first + r), low);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(second + r), high);
      const __m512i both =
          _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      _mm512_storeu_si512(to.across + c / 2 * to.across_stride + r, both);
    }
  }
}

constexpr Kernel<std::uint16_t> bf16{
    kRows, kPanel, multiply_bf16, multiply_turned_bf16, absorb_bf16, differentiate_bf16};

}  // namespace

template <>
const Kernel<float>* kernel<float>() {
  const Isa isa = active_isa();
  return isa == Isa::kAvx512 ? &avx512 : isa == Isa::kAvx2 ? &avx2 : nullptr;
}
template <>
const Kernel<std::uint16_t>* kernel<std::uint16_t>() {
  return active_isa() == Isa::kAvx512 && __builtin_cpu_supports("avx512bf16") ? &bf16 : nullptr;
}

#else

template <>
const Kernel<float>* kernel<float>() {
  return nullptr;
}
template <>
const Kernel<std::uint16_t>* kernel<std::uint16_t>() {
  return nullptr;
}

#endif

}  // namespace smolfast::loss
