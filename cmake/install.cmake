# Installs the program, the library with its public headers, and the CMake package `twofold`.
include(CMakePackageConfigHelpers)
install(TARGETS twofold_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
