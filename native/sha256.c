// SHA-256 (FIPS 180-4), for the names of sockets. Called by mod_bytes.c.
#include <string.h>

#include "host.h"

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n)
{
  return x >> n | x << (32 - n);
}

// One round, in which the word `a` of the standard is s[-j], `b` the next, and so on around.
static inline __attribute__((always_inline)) void add_round(uint32_t s[8], int j, uint32_t input)
{
  uint32_t *a = s + (8 - j) % 8, *b = s + (9 - j) % 8, *c = s + (10 - j) % 8, *d = s + (11 - j) % 8;
  uint32_t *e = s + (12 - j) % 8, *f = s + (13 - j) % 8, *g = s + (14 - j) % 8, *h = s + (15 - j) % 8;
  uint32_t sum1 = rotate(*e, 6) ^ rotate(*e, 11) ^ rotate(*e, 25);
  uint32_t choice = (*e & *f) ^ (~*e & *g);
  uint32_t t1 = *h + sum1 + choice + input;
  uint32_t sum0 = rotate(*a, 2) ^ rotate(*a, 13) ^ rotate(*a, 22);
  uint32_t majority = (*a & *b) ^ (*a & *c) ^ (*b & *c);
  *d += t1;
  *h = t1 + sum0 + majority;
}

static void add_block(uint32_t state[8], const uint8_t block[64])
{
  uint32_t w[64], s[8];
  for (int i = 0; i < 16; i++) {
    const uint8_t *p = block + 4 * i;
    w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  memcpy(s, state, sizeof s);
  // Eight rounds a turn: after them every word is where it was, and none was moved.
  for (int i = 0; i < 64; i += 8) {
    const uint32_t *k = round_constants + i, *in = w + i;
    add_round(s, 0, k[0] + in[0]);
    add_round(s, 1, k[1] + in[1]);
    add_round(s, 2, k[2] + in[2]);
    add_round(s, 3, k[3] + in[3]);
    add_round(s, 4, k[4] + in[4]);
    add_round(s, 5, k[5] + in[5]);
    add_round(s, 6, k[6] + in[6]);
    add_round(s, 7, k[7] + in[7]);
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

void sha256(const uint8_t *bytes, size_t length, uint8_t digest[32])
{
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t tail[128] = {0};
  size_t whole = length / 64 * 64, rest = length - whole;
  for (size_t i = 0; i < whole; i += 64) add_block(state, bytes + i);
  memcpy(tail, bytes + whole, rest);
  tail[rest] = 0x80;
  size_t padded = rest < 56 ? 64 : 128;
  uint64_t bits = (uint64_t)length * 8;
  for (int i = 0; i < 8; i++) tail[padded - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
  for (size_t i = 0; i < padded; i += 64) add_block(state, tail + i);
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
