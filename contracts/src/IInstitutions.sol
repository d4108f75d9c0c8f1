// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who takes part in a study, and how those who do decide about it together.
/// @notice Before the first model is approved the coordinator lists the founding institutions; from then on nothing
/// about the study changes but by a quorum of the active institutions. An institution is never deleted, and a wallet, once
/// an institution's, stays mapped to it.
interface IInstitutions {
    // ------------------------------------------------------------------------------------------------------- types

    enum Status { None, Active, Suspended, Revoked }

    /// @param wallet The only address that submits, attests and decides for the institution at present.
    /// @param weightClass Its agreed, public weight in the aggregate; never a patient count.
    /// @param epsilonBudget Most that its patients may spend, in micro-units of epsilon.
    /// @param strikes Equivocations that were proven against it.
    /// @param status Whether it takes part; a suspended one may come back, a revoked one may not.
    /// @param epsilonSpent Cumulative epsilon of its last submission, in micro-units.
    /// @param credits Rewards so far; they can't be transferred.
    struct Institution {
        address wallet;
        uint16 weightClass;
        uint64 epsilonBudget;
        uint16 strikes;
        Status status;
        uint64 epsilonSpent;
        uint64 credits;
    }

    // ------------------------------------------------------------------------------------------------------ events

    event InstitutionRegistered(
        uint16 indexed institution, address indexed wallet, uint16 weightClass, uint64 epsilonBudget
    );
    event InstitutionSuspended(uint16 indexed institution);
    event InstitutionReinstated(uint16 indexed institution);
    event InstitutionRevoked(uint16 indexed institution);
    event KeyRotated(uint16 indexed institution, address indexed oldWallet, address indexed newWallet);
    event DecisionSupported(bytes32 indexed decision, uint16 indexed institution, bytes action);
    event SupportWithdrawn(bytes32 indexed decision, uint16 indexed institution);
    event DecisionTaken(bytes32 indexed decision);

    // ------------------------------------------------------------------------------------------------------ errors

    error InvalidWallet(address wallet);
    error WalletTaken(address wallet, uint16 institution);
    error InvalidWeightClass();
    error BudgetTooLarge(uint64 epsilonBudget, uint64 most);
    error UnknownInstitution(address wallet);
    error RetiredKey(address wallet, uint16 institution);
    error WrongSigner(address signer, uint16 institution);
    error NotActive(uint16 institution, Status status);
    error LastInstitution(uint16 institution);
    error AlreadySupported(bytes32 decision, uint16 institution);
    error NotSupported(bytes32 decision, uint16 institution);
    error AlreadyFounded();

    // ----------------------------------------------------------------------------------------------------- actions

    /// @notice List a founding institution; ids follow the order of registration. Coordinator only, before the first model
    /// is approved: whoever approves it approves the roster too.
    function registerFounder(address wallet, uint16 weightClass, uint64 epsilonBudget) external returns (uint16 institution);

    /// @notice Support a decision as an active institution; at the quorum of the active ones it is taken at once.
    /// @param action A call of this contract, ABI-encoded: one of the functions below that are by decision only, or
    /// `grantRole` and `revokeRole` for the coordinator. The same action may be decided again later.
    function support(bytes calldata action) external;

    /// @notice Take back the support of a decision that is not taken yet.
    function withdraw(bytes calldata action) external;

    /// @notice Replace the caller's own wallet; the old one stays mapped to the institution and can do nothing more.
    function rotateOwnKey(address newWallet) external;

    // ------------------------------------------------------------------------------------------- by decision only

    function registerInstitution(address wallet, uint16 weightClass, uint64 epsilonBudget)
        external
        returns (uint16 institution);
    function suspendInstitution(uint16 institution) external;
    function reinstateInstitution(uint16 institution) external;
    function revokeInstitution(uint16 institution) external;

    /// @notice Replace an institution's wallet after a loss.
    function rotateKey(uint16 institution, address newWallet) external;

    /// @notice Stop every write but decisions; views go on.
    function pause() external;
    function unpause() external;

    // ------------------------------------------------------------------------------------------------------- views

    /// @notice The role that opens rounds and proposes; it can't be an institution's wallet.
    function COORDINATOR() external view returns (bytes32);

    function institutionCount() external view returns (uint16);
    function activeCount() external view returns (uint16);

    /// @notice Running hash of the registrations: keccak256(abi.encode(before, wallet, weightClass, epsilonBudget)).
    function roster() external view returns (bytes32);

    /// @notice The institution of that id; all zero if there is none.
    function institution(uint16 id) external view returns (Institution memory);

    /// @notice The institution that a wallet is or was of. Reverts with UnknownInstitution.
    function idOf(address wallet) external view returns (uint16);

    /// @notice Which decision an action is at present: its hash and how often it was taken already.
    function decisionOf(bytes calldata action) external view returns (bytes32);

    /// @notice The institutions that support a decision, in the order in which they did.
    function supporters(bytes32 decision) external view returns (uint16[] memory);
}
