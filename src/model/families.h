// The families' data, one per file family_*.cpp: the registry.
#pragma once

#include <array>

#include "model/family.h"

namespace twofold {

extern const Family kBloomFamily;
extern const Family kGemma2Family;
extern const Family kGemma3Family;
extern const Family kGpt2Family;
extern const Family kGptNeoxFamily;
extern const Family kGraniteFamily;
extern const Family kLlamaFamily;
extern const Family kMistralFamily;
extern const Family kMixtralFamily;
extern const Family kOlmo2Family;
extern const Family kOptFamily;
extern const Family kPhi3Family;
extern const Family kQwen2Family;
extern const Family kQwen3Family;
extern const Family kQwen3MoeFamily;
extern const Family kSmolLm3Family;

inline constexpr std::array kFamilies = {
    &kBloomFamily,     //
    &kGemma2Family,    //
    &kGemma3Family,    //
    &kGpt2Family,      //
    &kGptNeoxFamily,   //
    &kGraniteFamily,   //
    &kLlamaFamily,     //
    &kMistralFamily,   //
    &kMixtralFamily,   //
    &kOlmo2Family,     //
    &kOptFamily,       //
    &kPhi3Family,      //
    &kQwen2Family,     //
    &kQwen3Family,     //
    &kQwen3MoeFamily,  //
    &kSmolLm3Family,   //
};

}  // namespace twofold
