# twofold::blas: OpenBLAS built without threads. Debian's alternatives choose the build that -lopenblas finds, at link
# time and at run time; a library's products must not start threads of their own, so the file is named and its folder
# becomes the RUNPATH of every program (searched before the cache of the dynamic linker).
file(GLOB serial_blas_folders /usr/lib/*/openblas-serial)
find_library(SERIAL_BLAS NAMES openblas PATHS ${serial_blas_folders} PATH_SUFFIXES openblas-serial NO_DEFAULT_PATH
  DOC "libopenblas built without threads" REQUIRED)
file(GLOB serial_blas_headers /usr/include/*/openblas-serial)
find_path(SERIAL_BLAS_INCLUDE NAMES cblas.h PATHS ${serial_blas_headers} NO_DEFAULT_PATH
  DOC "folder of cblas.h beside it" REQUIRED)
mark_as_advanced(SERIAL_BLAS SERIAL_BLAS_INCLUDE)
add_library(twofold::blas SHARED IMPORTED)
set_target_properties(twofold::blas PROPERTIES
  IMPORTED_LOCATION ${SERIAL_BLAS} INTERFACE_INCLUDE_DIRECTORIES ${SERIAL_BLAS_INCLUDE})
