# The library `twofold` (all layers in one archive), its public headers, the program, the demo's model, and the CMake
# package, so that `find_package(twofold)` gives the target twofold::twofold.
include(CMakePackageConfigHelpers)

# What a user of the library includes; everything these include is installed with them.
set(TWOFOLD_PUBLIC_HEADERS
  base/cpu.h engine/generate.h engine/load_tokenizer.h eval/evaluate.h kernels/pot_shift_add.h kernels/select.h
  pipeline/quantize_model.h transform/transform.h)

# twofold_header_closure(RESULT HEADER...): these headers of src/ and all headers of src/ that they include.
function(twofold_header_closure result)
  set(pending ${ARGN})
  set(known "")
  while(pending)
    list(POP_FRONT pending header)
    if(header IN_LIST known)
      continue()
    endif()
    list(APPEND known ${header})
    file(STRINGS ${PROJECT_SOURCE_DIR}/src/${header} lines REGEX "^#include \"")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^#include \"([^\"]+)\".*" "\\1" included "${line}")
      list(APPEND pending ${included})
    endforeach()
  endwhile()
  set(${result} ${known} PARENT_SCOPE)
endfunction()

set(layers base tensor io text transform quant formats kernels model engine calib eval pipeline)
add_library(twofold STATIC)
add_library(twofold::twofold ALIAS twofold)
foreach(layer IN LISTS layers)
  target_sources(twofold PRIVATE $<TARGET_OBJECTS:twofold_${layer}>)
endforeach()
set_target_properties(twofold PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(twofold INTERFACE cxx_std_20)
target_include_directories(twofold INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/twofold>)
target_link_libraries(twofold
  PUBLIC fmt::fmt nlohmann_json::nlohmann_json Threads::Threads
  PRIVATE PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::CRYPTO)

twofold_header_closure(headers ${TWOFOLD_PUBLIC_HEADERS})
foreach(header IN LISTS headers)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES ${PROJECT_SOURCE_DIR}/src/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/twofold/${folder})
endforeach()
install(FILES ${PROJECT_BINARY_DIR}/generated/base/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/twofold/base)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/twofold)
install(TARGETS twofold EXPORT twofold-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT twofold-targets NAMESPACE twofold:: DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/twofold-config.cmake.in
  ${PROJECT_BINARY_DIR}/generated/twofold-config.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/twofold-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/twofold-config.cmake
  ${PROJECT_BINARY_DIR}/generated/twofold-config-version.cmake
  DESTINATION ${package_folder})

install(TARGETS twofold_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/shakespeare-char DESTINATION ${CMAKE_INSTALL_DATADIR}/twofold/models)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
