# cmake -DROOT=... -DLIST=... -DCOMPILER=... -DOUTPUT=... -P build_id.cmake: writes OUTPUT, a header that defines
# TWOFOLD_BUILD_ID, the SHA-256 of COMPILER and of all files named in LIST, relative to ROOT. A header that would not
# change is left alone.
file(STRINGS ${LIST} names)
set(text "${COMPILER}\n")
foreach(name IN LISTS names)
  file(SHA256 ${ROOT}/${name} hash)
  string(APPEND text "${name} ${hash}\n")
endforeach()
string(SHA256 id "${text}")
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define TWOFOLD_BUILD_ID \"@id@\"\n" @ONLY)
