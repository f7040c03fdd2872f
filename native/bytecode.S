// The compiled program, in pages of its own. PROGRAM_BYTECODE is given by scripts/build.ts.
    .section .rodata.program, "a", @progbits
    .global program_bytecode, program_bytecode_end
    .balign 4096
program_bytecode:
    .incbin PROGRAM_BYTECODE
program_bytecode_end:
    .byte 0
    .section .note.GNU-stack, "", @progbits
