// For loops over fp32 that a compiler turns into vector code, one function for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"

#if defined(__GNUC__)
#define SMOLFAST_INLINE static inline __attribute__((always_inline))
#define SMOLFAST_NOINLINE __attribute__((noinline))
#else
#define SMOLFAST_INLINE static inline
#define SMOLFAST_NOINLINE
#endif

#if defined(SMOLFAST_X86) && defined(__GNUC__)
#define SMOLFAST_LOOPS_AVX2 __attribute__((target("avx2,fma")))
#define SMOLFAST_LOOPS_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")))
// Calls FUNCTION<ISA> with the arguments, compiled for the instruction set in use: a dispatcher, NAME. FUNCTION is
// inlined.
#define SMOLFAST_DISPATCH(NAME, FUNCTION, PARAMETERS, ARGUMENTS) \
  SMOLFAST_LOOPS_AVX512 void NAME##_avx512 PARAMETERS {          \
    FUNCTION ARGUMENTS;                                          \
  }                                                              \
  SMOLFAST_LOOPS_AVX2 void NAME##_avx2 PARAMETERS {              \
    FUNCTION ARGUMENTS;                                          \
  }                                                              \
  void NAME##_baseline PARAMETERS {                              \
    FUNCTION ARGUMENTS;                                          \
  }                                                              \
  void NAME PARAMETERS {                                         \
    const Isa isa = active_isa();                                \
    if (isa == Isa::kAvx512) return NAME##_avx512 ARGUMENTS;     \
    if (isa == Isa::kAvx2) return NAME##_avx2 ARGUMENTS;         \
    NAME##_baseline ARGUMENTS;                                   \
  }
#else
#define SMOLFAST_DISPATCH(NAME, FUNCTION, PARAMETERS, ARGUMENTS) \
  void NAME PARAMETERS {                                         \
    FUNCTION ARGUMENTS;                                          \
  }
#endif

namespace smolfast {

// Vectors of so many floats, and of as many words of their bits. One of each where the compiler has no vector types.
#if defined(__GNUC__) || defined(__clang__)
template <std::size_t LANES>
struct Lanes {
  typedef float Floats __attribute__((vector_size(LANES * sizeof(float)), may_alias));
  typedef std::uint32_t Bits __attribute__((vector_size(LANES * sizeof(float))));
};
template <>
struct Lanes<1> {
  using Floats = float;
  using Bits = std::uint32_t;
};
inline constexpr std::size_t kBaselineLanes = 4;
#else
template <std::size_t LANES>
struct Lanes {
  static_assert(LANES == 1);
  using Floats = float;
  using Bits = std::uint32_t;
};
inline constexpr std::size_t kBaselineLanes = 1;
#endif
template <std::size_t LANES>
using Floats = typename Lanes<LANES>::Floats;

// eˣ for x ≤ 0 within 2 units in the last place, and 0 below −87.3, where it would be subnormal: x = n · ln 2 + r, and
// eʳ by its Taylor polynomial of degree 7 (its rest is below 2⁻²⁸ for |r| ≤ ln 2 / 2). NaN stays NaN.
template <std::size_t LANES>
SMOLFAST_INLINE Floats<LANES> exponentials(Floats<LANES> x) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2²³: adding it leaves the nearest whole number in the last bits
  const Floats<LANES> shifted = x * 1.44269504f + kRound;
  const Floats<LANES> n = shifted - kRound;
  const Floats<LANES> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts, the first exact times n
  Floats<LANES> p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto bits = __builtin_bit_cast(typename Lanes<LANES>::Bits, shifted);
  const auto power = __builtin_bit_cast(Floats<LANES>, (bits << 23) + 0x3F800000);
  return x < -87.3f ? Floats<LANES>{} : p * power;
}

SMOLFAST_INLINE float exponential(float x) {
  return exponentials<1>(x);
}

}  // namespace smolfast
