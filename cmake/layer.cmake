# twofold_layer(NAME SOURCES a.cpp ... [DEPENDS layer|target ...]): one static library per layer of docs/architecture.md.
# twofold_isa_sources(NAME FLAGS ... SOURCES ...): files of a layer that may use wider vectors than the baseline.

add_library(twofold_options INTERFACE)
target_compile_features(twofold_options INTERFACE cxx_std_20)
target_compile_options(twofold_options INTERFACE -ffp-contract=off -fno-math-errno)
if(TWOFOLD_DEVELOPER_MODE)
  target_compile_options(twofold_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wundef
    -Wmissing-declarations -Wunused-function -Werror=switch)
endif()
if(TWOFOLD_SANITIZE)
  target_compile_options(twofold_options INTERFACE -fsanitize=${TWOFOLD_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(twofold_options INTERFACE -fsanitize=${TWOFOLD_SANITIZE})
endif()

function(twofold_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(twofold_${name} STATIC ${ARG_SOURCES})
  target_include_directories(twofold_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>)
  target_link_libraries(twofold_${name} PRIVATE $<BUILD_INTERFACE:twofold_options> PUBLIC ${ARG_DEPENDS})
endfunction()

function(twofold_isa_sources)
  cmake_parse_arguments(ARG "" "" "SOURCES;FLAGS" ${ARGN})
  set_source_files_properties(${ARG_SOURCES} PROPERTIES COMPILE_OPTIONS "${ARG_FLAGS}")
endfunction()
